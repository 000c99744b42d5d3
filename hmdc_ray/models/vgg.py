"""VGG for small images (as in the code of DC, arXiv 2006.05929)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from hmdc_ray.models.layers import Norm, Width, make_norm
from hmdc_ray.models.network import Architecture, TapSpec
from hmdc_ray.models.registry import register
from hmdc_ray.models.shape import ImageShape

# Channels of the convolutions of each stage, in multiples of the width; a max pooling ends a stage,
# unless the next one would see maps of one pixel, of which an instance norm leaves nothing.
_VGG11 = ((1,), (2,), (4, 4), (8, 8), (8, 8))


@register("vgg11", "eight 3x3 convolutions with max poolings, five from 32x32 on, linear; taps: after each stage")
def vgg11(shape: ImageShape, classes: int, *, width: Width = 64, norm: Norm = "instance") -> Architecture:
    """Build a VGG11; at 10 classes and 3x32x32 the default has 9,231,114 parameters.

    Args:
        shape: images of at least 8x8 pixels; those below 32x32, but for grey ones of 28x28, are
            pooled less often.
        classes: number of logits.
        width: channels of the first convolution; the others have up to 8 times as many.
        norm: kind of normalisation, as in :func:`hmdc_ray.models.layers.make_norm`.
    """
    margin = shape.margin
    shape.require(8, margin)
    height, width_pixels = shape.height + 2 * margin, shape.width + 2 * margin
    channels, padding = shape.channels, 1 + margin
    stages = nn.Sequential()
    for multiples in _VGG11:
        stage, last = nn.Sequential(), len(stages) == len(_VGG11) - 1
        for multiple in multiples:
            stage.append(nn.Conv2d(channels, multiple * width, 3, padding=padding))
            channels, padding = multiple * width, 1
            stage.append(make_norm(norm, channels, height, width_pixels))
            stage.append(nn.ReLU())
        if last or min(height, width_pixels) >= 4:
            stage.append(nn.MaxPool2d(2))
            height, width_pixels = height // 2, width_pixels // 2
        stages.append(stage)
    classifier = nn.Linear(channels * height * width_pixels, classes)
    module = nn.Sequential(OrderedDict(stages=stages, flatten=nn.Flatten(), classifier=classifier))
    return Architecture(module, tuple(TapSpec(f"stages.{stage}", "map") for stage in range(len(_VGG11))))
