"""ConvNet, the network of gradient matching (Zhao, Mopuri, Bilen, arXiv 2006.05929, section 4)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

from pydantic import Field
from torch import nn

from hmdc_ray.models.layers import Activation, Norm, Pooling, Width, make_activation, make_norm, make_pooling
from hmdc_ray.models.network import Architecture, TapSpec
from hmdc_ray.models.registry import register
from hmdc_ray.models.shape import ImageShape


@register("convnet", "depth x [3x3 convolution, norm, activation, 2x2 pooling], linear; taps: every block")
def convnet(
    shape: ImageShape,
    classes: int,
    *,
    width: Width = 128,
    depth: Annotated[int, Field(ge=1, le=10)] = 3,
    norm: Norm = "instance",
    activation: Activation = "relu",
    pooling: Pooling = "avg",
) -> Architecture:
    """Build a ConvNet; at 10 classes and 3x32x32 the default has 320,010 parameters.

    Args:
        shape: images of at least 2 ** depth pixels a side, unless ``pooling`` is none.
        classes: number of logits.
        width: number of channels of every block.
        depth: number of blocks.
        norm: kind of normalisation, as in :func:`hmdc_ray.models.layers.make_norm`.
        activation: kind of activation: ``relu``, ``sigmoid``, ``leakyrelu`` (slope 0.01) or
            ``swish``.
        pooling: kind of pooling: ``avg``, ``max`` or ``none``.
    """
    margin = shape.margin
    if pooling != "none":
        shape.require(2**depth, margin)
    height, width_pixels = shape.height + 2 * margin, shape.width + 2 * margin
    channels = shape.channels
    blocks = nn.Sequential()
    for block in range(depth):
        padding = 1 + margin if block == 0 else 1
        blocks.append(
            nn.Sequential(
                nn.Conv2d(channels, width, 3, padding=padding),
                make_norm(norm, width, height, width_pixels),
                make_activation(activation),
                make_pooling(pooling),
            )
        )
        channels = width
        if pooling != "none":
            height, width_pixels = height // 2, width_pixels // 2
    classifier = nn.Linear(width * height * width_pixels, classes)
    module = nn.Sequential(OrderedDict(blocks=blocks, flatten=nn.Flatten(), classifier=classifier))
    return Architecture(module, tuple(TapSpec(f"blocks.{block}", "map") for block in range(depth)))
