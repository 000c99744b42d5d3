"""Averages over squares of pixels, as a matrix product: on CPUs several times as fast as torch's
own kernel.

The rows of k neighbouring lines of a map, one after the other, are multiplied by a matrix that
holds 1 / k^2 where a pixel belongs to a square, and 0 elsewhere.

Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmdc_ray.models.plain import is_plain

_DTYPES = (torch.float32, torch.float64, torch.bfloat16)

_WIDEST = 128
"""Most pixels in a line of W: every pixel is multiplied W / k times, all but once by 0."""


class AveragePool(nn.AvgPool2d):
    """``nn.AvgPool2d``, fast over squares that touch; otherwise, and where :func:`average_pool`
    says so, torch's own."""

    def forward(self, input: Tensor) -> Tensor:
        """Averages (B, C, H / k, W / k) of maps (B, C, H, W)."""
        side = self.kernel_size
        plain = self.padding != 0 or self.divisor_override is not None or self.ceil_mode
        if plain or not isinstance(side, int) or self.stride != side:
            return super().forward(input)
        return average_pool(input, side)


def average_pool(maps_BCHW: Tensor, side: int) -> Tensor:
    """Means of ``side`` x ``side`` pixels, (B, C, H / side, W / side), rounded down.

    Torch's kernel computes them on other devices than the CPU, for number formats other than
    float32, float64 and bfloat16, in bfloat16 for sides by whose square it does not divide 1
    exactly, for wide maps, where the squares do not cover the map, and within
    :func:`hmdc_ray.models.plain.plain_layers`.
    """
    height, width = maps_BCHW.shape[-2:]
    power_of_two = side & (side - 1) == 0
    ours = maps_BCHW.device.type == "cpu" and maps_BCHW.dtype in _DTYPES and maps_BCHW.ndim == 4
    ours = ours and (power_of_two or maps_BCHW.dtype != torch.bfloat16)
    if not ours or is_plain() or width > _WIDEST or height % side or width % side or maps_BCHW.numel() == 0:
        return F.avg_pool2d(maps_BCHW, side)
    lines = maps_BCHW.reshape(-1, side * width)
    with torch.autocast("cpu", enabled=False):  # means have the format of the maps
        means = lines @ _squares(side, width, maps_BCHW.dtype)
    return means.view(*maps_BCHW.shape[:2], height // side, width // side)


def _squares(side: int, width: int, dtype: torch.dtype) -> Tensor:
    """(side * width, width / side): which pixels of some lines belong to which square."""
    columns = torch.arange(width) // side
    member = columns[:, None] == torch.arange(width // side)
    return member.to(dtype).div(side**2).repeat(side, 1)
