"""Normalisation, activation and pooling layers of the convolutional families, by name.

Names and meaning as in the model pool of Zhou, Zhong, Chen (arXiv 2402.13007) and the code of DC
(arXiv 2006.05929).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from hmdc_ray.errors import InputError

Width = Annotated[int, Field(ge=1, le=4096)]
Norm = Literal["instance", "batch", "layer", "group", "none"]
Activation = Literal["relu", "sigmoid", "leakyrelu", "swish"]
Pooling = Literal["avg", "max", "none"]

_GROUPS = 4
_LEAK = 0.01


def make_norm(norm: Norm, channels: int, height: int, width: int) -> nn.Module:
    """A normalisation of maps (B, channels, height, width).

    Args:
        norm: kind of normalisation: ``instance`` (every channel of every image by itself, with
            affine weights), ``batch``, ``layer`` (over channels, height and width, an affine weight
            for each), ``group`` (four groups of channels), or ``none``.
        channels: number of channels of the maps.
        height: height of the maps, in pixels.
        width: width of the maps, in pixels.

    Raises:
        InputError: instance norm of one pixel, which is always 0; or channels that do not make four
            groups.
    """
    if norm == "instance":
        if height * width == 1:
            raise InputError("norm 'instance' meets maps of 1x1 pixel, which it sets to 0: use larger images or another norm")
        return nn.GroupNorm(channels, channels)
    if norm == "group":
        if channels % _GROUPS:
            raise InputError(f"norm 'group' meets {channels} channels: choose a width so that they are a multiple of {_GROUPS}")
        return nn.GroupNorm(_GROUPS, channels)
    if norm == "layer":
        return nn.LayerNorm([channels, height, width])
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity()


def make_activation(activation: Activation) -> nn.Module:
    """A pointwise non-linearity, never in place."""
    return {"relu": nn.ReLU(), "sigmoid": nn.Sigmoid(), "leakyrelu": nn.LeakyReLU(_LEAK), "swish": nn.SiLU()}[activation]


def make_pooling(pooling: Pooling) -> nn.Module:
    """A 2x2 pooling with stride 2, which drops an odd last row or column; or none."""
    return {"avg": nn.AvgPool2d(2), "max": nn.MaxPool2d(2), "none": nn.Identity()}[pooling]
