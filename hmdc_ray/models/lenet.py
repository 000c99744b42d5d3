"""LeNet-5 with ReLU and max pooling (as in the code of DC, arXiv 2006.05929)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from hmdc_ray.models.network import Architecture, TapSpec
from hmdc_ray.models.registry import register
from hmdc_ray.models.shape import ImageShape


@register("lenet", "two 5x5 convolutions with max pooling, 120-84 units, linear; taps: both pooled maps")
def lenet(shape: ImageShape, classes: int) -> Architecture:
    """Build a LeNet; at 10 classes and 3x32x32 it has 62,006 parameters.

    Args:
        shape: images of at least 16x16 pixels, or 12x12 if grey, which is padded by 2.
        classes: number of logits.
    """
    padding = 2 if shape.channels == 1 else 0
    shape.require(16, padding)
    stages = nn.Sequential(
        nn.Sequential(nn.Conv2d(shape.channels, 6, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
    )
    height, width = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in (shape.height, shape.width))
    hidden = nn.Sequential(nn.Linear(16 * height * width, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU())
    module = nn.Sequential(OrderedDict(stages=stages, flatten=nn.Flatten(), hidden=hidden, classifier=nn.Linear(84, classes)))
    return Architecture(module, (TapSpec("stages.0", "map"), TapSpec("stages.1", "map")))
