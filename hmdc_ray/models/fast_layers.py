"""The seam between layers as torch has them and those that are made for gradient matching."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import nn

from hmdc_ray.models.average_pool import AveragePool
from hmdc_ray.models.convolution import Convolution
from hmdc_ray.models.instance_norm import InstanceNorm

_plain = ContextVar("plain", default=False)


@contextmanager
def plain_layers() -> Iterator[None]:
    """Networks that are made in the block keep torch's own layers: for measurements and tests of ours against them."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def use_fast_layers(module: nn.Module) -> None:
    """Let torch's layers of a network do their work in the way that is fast when it is differentiated twice.

    Parameters, buffers, names and hooks stay as they are; layers of classes derived from torch's are left alone.
    """
    if _plain.get():
        return
    for child in module.modules():
        if type(child) is nn.Conv2d:
            child.__class__ = Convolution
        elif type(child) is nn.AvgPool2d:
            child.__class__ = AveragePool
        elif type(child) is nn.GroupNorm and child.affine and child.num_groups == child.num_channels:
            child.__class__ = InstanceNorm
