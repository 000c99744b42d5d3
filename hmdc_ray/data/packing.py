"""Multi-formation (IDC; HMDC section 3): one stored image holds a grid of f x f training images.

Shapes: N stored images, f formation factor, C x H x W an image. Tile (row, column) of stored image
t is decoded image (row * f + column) * N + t.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from hmdc_ray.errors import InputError

Decoding = Literal["aligned", "idc"]
"""How tiles become images: ``aligned`` as :func:`decode` does, which is how this package learns
them; ``idc`` as :func:`decode_as_idc` does."""

MOST_FORMATION = 8
"""Largest factor: a stored image is decoded to its square of full-sized ones."""


def check_formation(factor: int, height: int, width: int, field: str = "images.formation") -> None:
    """Refuse a formation factor that does not divide the image, or takes the memory of too many
    images.

    Args:
        factor: formation factor.
        height: height of a stored image, in pixels.
        width: width of a stored image, in pixels.
        field: name of the factor where the user gave it, for the error.

    Raises:
        InputError: ``factor`` is not 1 to 8, or height or width is not divisible by it.
    """
    check_formation_range(factor, field)
    if height % factor or width % factor:
        raise InputError(f"{field} is {factor}, which does not divide the image size {height}x{width}: use a common divisor")


def check_formation_range(factor: int, field: str) -> None:
    """Refuse a formation factor that takes the memory of too many images, or of none.

    Raises:
        InputError: ``factor`` is not 1 to 8.
    """
    if not 1 <= factor <= MOST_FORMATION:
        raise InputError(f"{field} is {factor}: must be 1 to {MOST_FORMATION}")


def decode(images_NCHW: Tensor, factor: int) -> Tensor:
    """Cut every stored image into its tiles and enlarge each to the full size (bilinear, corners
    aligned).

    Returns:
        (N * f * f, C, H, W), differentiable with respect to the input. With f = 1 the input itself.
    """
    if factor == 1:
        return images_NCHW
    height, width = images_NCHW.shape[-2:]
    rows = [row.chunk(factor, dim=3) for row in images_NCHW.chunk(factor, dim=2)]
    tiles = torch.cat([tile for row in rows for tile in row])
    return F.interpolate(tiles, size=(height, width), mode="bilinear", align_corners=True)


def decode_as_idc(images_NCHW: Tensor, factor: int, fill_C11: Tensor) -> Tensor:
    """Cut and enlarge as IDC's released code does (``decode_zoom``): bilinear, corners not aligned,
    for any image size.

    An image that the factor does not divide is filled up at the right and at the bottom until it
    does.

    Args:
        images_NCHW: stored images.
        factor: formation factor f, which need not divide the image.
        fill_C11: value of the pixels that are added; grey, 0.5 of the pixel scale, in that code.

    Returns:
        (N * f * f, C, H, W), in the order of :func:`decode`. With f = 1 the input itself.
    """
    if factor == 1:
        return images_NCHW
    count, channels, height, width = images_NCHW.shape
    whole = (-(-height // factor) * factor, -(-width // factor) * factor)
    filled = fill_C11.to(images_NCHW).expand(count, channels, *whole).clone()
    filled[:, :, :height, :width] = images_NCHW
    rows = [row.chunk(factor, dim=3) for row in filled.chunk(factor, dim=2)]
    tiles = torch.cat([tile for row in rows for tile in row])
    return F.interpolate(tiles, size=(height, width), mode="bilinear", align_corners=False)


def pack(images_NCHW: Tensor, factor: int) -> Tensor:
    """Shrink images (bilinear, smoothed) and lay f x f of them into each stored image, in the order
    of :func:`decode`.

    Args:
        images_NCHW: images to pack, a multiple of f * f of them.

    Returns:
        (N / (f * f), C, H, W).

    Raises:
        InputError: ``factor`` is not 1 to 8, or does not divide height and width.
    """
    if factor == 1:
        return images_NCHW
    height, width = images_NCHW.shape[-2:]
    check_formation(factor, height, width)
    size = (height // factor, width // factor)
    tiles = F.interpolate(images_NCHW, size=size, mode="bilinear", align_corners=False, antialias=True).chunk(factor * factor)
    rows = [torch.cat(tiles[row * factor : (row + 1) * factor], dim=3) for row in range(factor)]
    return torch.cat(rows, dim=2)
