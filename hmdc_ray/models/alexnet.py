"""AlexNet for small images (as in the code of DC, arXiv 2006.05929)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

from pydantic import Field
from torch import nn

from hmdc_ray.models.network import Architecture, TapSpec
from hmdc_ray.models.registry import register
from hmdc_ray.models.shape import ImageShape


@register("alexnet", "five convolutions with three max poolings, linear; taps: after each pooling")
def alexnet(
    shape: ImageShape, classes: int, *, width: Annotated[int, Field(ge=2, le=4096, multiple_of=2)] = 128
) -> Architecture:
    """Build an AlexNet; at 10 classes and 3x32x32 the default has 1,872,202 parameters.

    Args:
        shape: images of at least 8x8 pixels.
        classes: number of logits.
        width: channels of the first convolution, even; the others have 1.5, 2, 1.5 and 1.5 times as
            many.
    """
    margin = shape.margin
    shape.require(8, margin)
    middle = width * 3 // 2
    stages = nn.Sequential(
        nn.Sequential(nn.Conv2d(shape.channels, width, 5, padding=2 + margin), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(width, middle, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(
            nn.Conv2d(middle, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, middle, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(middle, middle, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ),
    )
    pixels = ((shape.height + 2 * margin) // 8) * ((shape.width + 2 * margin) // 8)
    classifier = nn.Linear(middle * pixels, classes)
    module = nn.Sequential(OrderedDict(stages=stages, flatten=nn.Flatten(), classifier=classifier))
    return Architecture(module, tuple(TapSpec(f"stages.{stage}", "map") for stage in range(3)))
