"""Augmentation of training images in an evaluation: every image of a batch is varied on its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from hmdc_ray.data.augment import draw
from hmdc_ray.evaluation.protocol import Recipe

CROP_PIXELS = 4
SCALE = 0.2
ROTATION_DEGREES = 45.0


def variation(recipe: Recipe, generator: torch.Generator) -> Callable[[Tensor], Tensor] | None:
    """A recipe's augmentation, from batch to batch (B, C, H, W), with draws from a CPU generator;
    None where it has none."""

    def idc(images_BCHW: Tensor) -> Tensor:
        count, _, height, width = images_BCHW.shape
        return draw("idc", families, height, width, generator, count, one_warp=recipe.one_warp)(images_BCHW)

    # Some recipes cut nothing out of images when CutMix already replaces a part of them.
    without = {"cutout"} if recipe.cutmix and not recipe.cutout_beside_cutmix else set()
    families = [family for family in recipe.families if family not in without]

    return {"none": None, "crop_scale_rotate": lambda images: crop_scale_rotate(images, generator), "idc": idc}[
        recipe.variation
    ]


def crop_scale_rotate(images_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Shift, scale or rotate each image: one of the three, with equal probability (DC's released
    code, for MNIST).

    Shift by up to 4 pixels per axis, enlarge by 0.8 to 1.2 per axis, or rotate by up to 45 degrees.
    Pixels from outside an image have the channel's mean over the batch. The whole batch is
    resampled at once, bilinearly; the released code loops.

    Args:
        images_BCHW: float images.
        generator: CPU generator; the number of draws depends on B alone.

    Returns:
        (B, C, H, W), on the device of the input.
    """
    transforms_B23 = _transforms(*_draws(len(images_BCHW), generator), *images_BCHW.shape[2:]).to(images_BCHW)
    grid_BHW2 = F.affine_grid(transforms_B23, list(images_BCHW.shape), align_corners=False)
    # Outside is 0 for grid_sample, so the mean is taken off for the resampling.
    mean_1C11 = images_BCHW.mean(dim=(0, 2, 3), keepdim=True)
    return F.grid_sample(images_BCHW - mean_1C11, grid_BHW2, align_corners=False) + mean_1C11


def _draws(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draws for every image: kind from 0 to 2 (B,), shift in pixels (B, 2), scale (B, 2), angle in
    radians (B,)."""
    kind = torch.randint(3, (count,), generator=generator)
    shift = torch.randint(-CROP_PIXELS, CROP_PIXELS + 1, (count, 2), generator=generator).float()
    scale = 1 + SCALE * (2 * torch.rand(count, 2, generator=generator) - 1)
    angle = math.radians(ROTATION_DEGREES) * (2 * torch.rand(count, generator=generator) - 1)
    return kind, shift, scale, angle


def _transforms(kind_B: Tensor, shift_B2: Tensor, scale_B2: Tensor, angle_B: Tensor, height: int, width: int) -> Tensor:
    """Affine maps (B, 2, 3) from output to input positions, in affine_grid's coordinates (x, y from
    -1 to 1)."""
    transforms_B23 = torch.eye(2, 3).repeat(len(kind_B), 1, 1)
    crop, zoom, turn = (kind_B == value for value in range(3))
    transforms_B23[crop, :, 2] = 2 * shift_B2[crop] / torch.tensor([width, height])
    transforms_B23[zoom, :, :2] = torch.diag_embed(1 / scale_B2[zoom])
    cosine, sine = angle_B[turn].cos(), angle_B[turn].sin()
    # Positions are relative to each side's length, so a turn of a non-square image mixes the two
    # lengths.
    rotation = torch.stack([cosine, -sine * height / width, sine * width / height, cosine], dim=1)
    transforms_B23[turn, :, :2] = rotation.view(-1, 2, 2)
    return transforms_B23
