"""Multi-formation (IDC; HMDC section 3): one stored image holds a grid of f x f training images.

Shapes: N stored images, f formation factor, C x H x W an image. Tile (row, column) of stored image t is
decoded image (row * f + column) * N + t.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hmdc_ray.errors import InputError

MOST_FORMATION = 8
"""Largest factor: a stored image is decoded to its square of full-sized ones."""


def check_formation(factor: int, height: int, width: int) -> None:
    """Refuse a formation factor that does not divide the image, or takes the memory of too many images.

    Raises:
        InputError: ``factor`` is not 1 to 8, or height or width is not divisible by it.
    """
    if not 1 <= factor <= MOST_FORMATION:
        raise InputError(f"images.formation is {factor}: must be 1 to {MOST_FORMATION}")
    if height % factor or width % factor:
        raise InputError(
            f"images.formation is {factor}, which does not divide the image size {height}x{width}: use a common divisor"
        )


def decode(images_NCHW: Tensor, factor: int) -> Tensor:
    """Cut every stored image into its tiles and enlarge each to the full size (bilinear, corners aligned).

    Returns:
        (N * f * f, C, H, W), differentiable with respect to the input. With f = 1 the input itself.
    """
    if factor == 1:
        return images_NCHW
    height, width = images_NCHW.shape[-2:]
    rows = [row.chunk(factor, dim=3) for row in images_NCHW.chunk(factor, dim=2)]
    tiles = torch.cat([tile for row in rows for tile in row])
    return F.interpolate(tiles, size=(height, width), mode="bilinear", align_corners=True)


def pack(images_NCHW: Tensor, factor: int) -> Tensor:
    """Shrink images (bilinear, smoothed) and lay f x f of them into each stored image, in the order of :func:`decode`.

    Args:
        images_NCHW: a multiple of f * f images.

    Returns:
        (N / (f * f), C, H, W).

    Raises:
        InputError: see :func:`check_formation`.
    """
    if factor == 1:
        return images_NCHW
    height, width = images_NCHW.shape[-2:]
    check_formation(factor, height, width)
    size = (height // factor, width // factor)
    tiles = F.interpolate(images_NCHW, size=size, mode="bilinear", align_corners=False, antialias=True).chunk(factor * factor)
    rows = [torch.cat(tiles[row * factor : (row + 1) * factor], dim=3) for row in range(factor)]
    return torch.cat(rows, dim=2)
