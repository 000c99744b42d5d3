"""Differentiable Siamese augmentation (DSA, Zhao and Bilen, ICML 2021; order ``idc`` from Kim et
al., ICML 2022).

A draw is made once and applied to any number of images: Siamese means that real and synthetic
images share it. Draws work in normalised space and come from a keyed generator. Random numbers are
drawn in float32 whatever the images' format, so that float64 makes the same choices; what is
computed from them is computed in that format. Shapes: B images, C x H x W; n = 1 draw for the whole
batch, or n = B, one draw an image.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from hmdc_ray.config import Family
from hmdc_ray.system.transfer import to_device

Order = Literal["none", "dsa", "idc"]

COLOUR: tuple[Family, ...] = ("brightness", "saturation", "contrast")
WARPS: tuple[Family, ...] = ("crop", "scale", "rotate")

LARGEST_SHIFT = 0.125
LARGEST_SCALE = 1.2
LARGEST_ANGLE = math.radians(15)
CUTOUT_SIDE = 0.5


@dataclass(frozen=True)
class Augmentation:
    """One draw of every family; families that are not in use hold their identity.

    It is drawn on the CPU, where it is known what it does. Whoever needs several at a time copies
    their values to the images' device together, see :meth:`with_copy`.

    Attributes:
        flip_n: whether to mirror left and right.
        brightness_n: amount added to the image; identity 0.
        saturation_n: factor on the distance from the mean over channels; identity 1.
        contrast_n: factor on the distance from the mean over the image; identity 1.
        warp_n23: affine map from output to input coordinates, each in [-1, 1] with corners aligned.
        cutout_n4: (top, bottom, left, right) of the zeroed rectangle in pixels; empty for identity.
        copy: the same values on the device of the images; None: each call copies them.
    """

    flip_n: Tensor
    brightness_n: Tensor
    saturation_n: Tensor
    contrast_n: Tensor
    warp_n23: Tensor
    cutout_n4: Tensor
    copy: Augmentation | None = field(default=None, kw_only=True)

    @property
    def values(self) -> tuple[Tensor, ...]:
        """What was drawn, in the order of the attributes."""
        return self.flip_n, self.brightness_n, self.saturation_n, self.contrast_n, self.warp_n23, self.cutout_n4

    def with_copy(self, values: Sequence[Tensor]) -> Augmentation:
        """The same draw with a copy of its :attr:`values` on a device."""
        return replace(self, copy=Augmentation(*values))

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Apply the draw; differentiable with respect to the images. What is the identity is
        skipped."""
        images = images_BCHW
        there = self.copy or Augmentation(*to_device(self.values, images.device))
        if self.flip_n.any():
            images = torch.where(there.flip_n[:, None, None, None], images.flip(3), images)
        images = self._coloured(images, there)
        if not torch.equal(self.warp_n23, _identity(len(self.warp_n23), self.warp_n23.dtype)):
            images = warp(images, there.warp_n23)
        if self.cutout_n4.any():
            images = images * _outside(there.cutout_n4, *images.shape[-2:])
        return images

    def _coloured(self, images: Tensor, there: Augmentation) -> Tensor:
        """Images (B, C, H, W) with another brightness, saturation and contrast, in this order."""

        def column(values_n: Tensor) -> Tensor:
            return values_n.to(images.dtype)[:, None, None, None]

        if self.brightness_n.any():
            images = images + column(there.brightness_n)
        if (self.saturation_n != 1).any():
            mean = images.mean(dim=1, keepdim=True)
            images = (images - mean) * column(there.saturation_n) + mean
        if (self.contrast_n != 1).any():
            mean = images.mean(dim=(1, 2, 3), keepdim=True)
            images = (images - mean) * column(there.contrast_n) + mean
        return images


def draw(
    order: Order,
    families: Collection[Family],
    height: int,
    width: int,
    generator: torch.Generator,
    count: int = 1,
    dtype: torch.dtype = torch.float32,
    *,
    one_warp: bool = False,
) -> Augmentation:
    """Draw augmentations. Every family consumes its random numbers whether it is in use or not.

    Args:
        order: rule by which families are combined. ``dsa`` uses one of flip, colour, crop, scale,
            rotate, cutout; ``idc`` uses flip, colour, one of crop, scale, rotate, and cutout;
            ``none`` is the identity.
        families: the families in use.
        height: height of the images, in pixels.
        width: width of the images, in pixels.
        generator: keyed CPU generator.
        count: number of draws n, 1 for Siamese use.
        dtype: format of the factors and maps, that of the images.
        one_warp: whether ``idc`` draws one of crop, scale, rotate for all n, each by its own
            amount, as IDC's code does.
    """
    u_n12 = torch.rand(count, 12, generator=generator)
    warps: list[set[Family]] = [{family} for family in WARPS] if order == "dsa" else [set(WARPS)]
    groups: list[set[Family]] = [{"flip"}, set(COLOUR), *warps, {"cutout"}]
    used = [group for group in groups if group & set(families)] if order != "none" else []
    chosen_n = (u_n12[:, 0] * len(used)).long()

    def on(family: Family) -> Tensor:
        if family not in families or order == "none":
            return torch.zeros(count, dtype=torch.bool)
        if order == "dsa":
            return chosen_n == next(i for i, group in enumerate(used) if family in group)
        if family in WARPS:
            rivals = [name for name in WARPS if name in families]
            kind_n = (u_n12[:, 1] * len(rivals)).long()
            return (kind_n[:1].expand(count) if one_warp else kind_n) == rivals.index(family)
        return torch.ones(count, dtype=torch.bool)

    exact_n12 = u_n12.to(dtype)
    side = torch.tensor([height, width])
    half = (side * CUTOUT_SIDE / 2).long()
    centre_n2 = (u_n12[:, 10:12] * side).long()
    low_n2, high_n2 = (centre_n2 - half).clamp(min=0), torch.minimum(centre_n2 + (side * CUTOUT_SIDE).long() - half, side)
    cutout_n4 = torch.stack([low_n2[:, 0], high_n2[:, 0], low_n2[:, 1], high_n2[:, 1]], dim=1)
    return Augmentation(
        flip_n=on("flip") & (u_n12[:, 2] < 0.5),
        brightness_n=torch.where(on("brightness"), exact_n12[:, 3] - 0.5, 0.0),
        saturation_n=torch.where(on("saturation"), 2 * exact_n12[:, 4], 1.0),
        contrast_n=torch.where(on("contrast"), exact_n12[:, 5] + 0.5, 1.0),
        warp_n23=_warps(on("crop"), on("scale"), on("rotate"), u_n12[:, 6:10], height, width, dtype),
        cutout_n4=torch.where(on("cutout")[:, None], cutout_n4, 0),
    )


def warp(images_BCHW: Tensor, matrix_n23: Tensor) -> Tensor:
    """Resample images along affine maps (bilinear, zeros outside); grid and sampling both align
    corners.

    The identity matrix returns the images.
    """
    matrix = matrix_n23.to(images_BCHW.dtype).expand(len(images_BCHW), 2, 3)
    grid = F.affine_grid(matrix, list(images_BCHW.shape), align_corners=True)
    return F.grid_sample(images_BCHW, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def crop_reach(size: int) -> int:
    """Most pixels by which a crop shifts images of this side: an eighth of it, halves rounded up as
    in DSA's code."""
    return math.floor(LARGEST_SHIFT * size + 0.5)


def _warps(
    crop_n: Tensor, scale_n: Tensor, rotate_n: Tensor, u_n4: Tensor, height: int, width: int, dtype: torch.dtype
) -> Tensor:
    """Affine maps of crop (a shift by whole pixels), scale (each axis by itself) and rotation (of
    the pixel grid)."""
    matrix, exact_n4 = _identity(len(u_n4), dtype).clone(), u_n4.to(dtype)
    for axis, (size, u_n) in enumerate(((width, u_n4[:, 0]), (height, u_n4[:, 1]))):
        reach = crop_reach(size)
        shift_n = ((u_n * (2 * reach + 1)).long() - reach).to(dtype)
        matrix[:, axis, 2] = torch.where(crop_n, 2 * shift_n / max(size - 1, 1), 0.0)
        factor_n = 1 / LARGEST_SCALE + exact_n4[:, axis] * (LARGEST_SCALE - 1 / LARGEST_SCALE)
        matrix[:, axis, axis] = torch.where(scale_n, factor_n, 1.0)
    angle_n = (2 * exact_n4[:, 2] - 1) * LARGEST_ANGLE
    ratio = max(height - 1, 1) / max(width - 1, 1)
    turned = torch.stack([angle_n.cos(), -angle_n.sin() * ratio, angle_n.sin() / ratio, angle_n.cos()], dim=1).view(-1, 2, 2)
    matrix[:, :, :2] = torch.where(rotate_n[:, None, None], turned, matrix[:, :, :2])
    return matrix


def _identity(count: int, dtype: torch.dtype) -> Tensor:
    return torch.eye(2, 3, dtype=dtype).expand(count, 2, 3)


def _outside(box_n4: Tensor, height: int, width: int) -> Tensor:
    """1 outside the rectangle, 0 inside; (n, 1, H, W)."""
    y, x = torch.arange(height, device=box_n4.device)[:, None], torch.arange(width, device=box_n4.device)
    top, bottom, left, right = (edge[:, None, None] for edge in box_n4.unbind(1))
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    return (~inside)[:, None]
