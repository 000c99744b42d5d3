"""Puts layers made for gradient matching in the place of torch's own."""

from __future__ import annotations

from torch import nn

from hmdc_ray.models.average_pool import AveragePool
from hmdc_ray.models.convolution import Convolution
from hmdc_ray.models.instance_norm import InstanceNorm
from hmdc_ray.models.plain import is_plain


def use_fast_layers(module: nn.Module) -> None:
    """Let torch's layers of a network do their work in the way that is fast when it is
    differentiated twice.

    Parameters, buffers, names and hooks stay as they are; layers of classes derived from torch's
    are left alone.
    """
    if is_plain():
        return
    for child in module.modules():
        if type(child) is nn.Conv2d:
            child.__class__ = Convolution
        elif type(child) is nn.AvgPool2d:
            child.__class__ = AveragePool
        elif type(child) is nn.GroupNorm and child.affine and child.num_groups == child.num_channels:
            child.__class__ = InstanceNorm
