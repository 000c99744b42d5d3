from __future__ import annotations

import math
from collections.abc import Collection
from itertools import combinations
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmdc_ray.config import Family
from hmdc_ray.data.augment import Augmentation, Order, crop_reach, draw, warp
from hmdc_ray.seeding import Key

FAMILIES: tuple[Family, ...] = get_args(Family)
COLOUR = {"brightness", "saturation", "contrast"}
WARPS = {"crop", "scale", "rotate"}
HEIGHT, WIDTH = 8, 12
MANY = 2000
IDENTITY = torch.eye(2, 3)


def drawn(
    order: Order, families: Collection[Family] = FAMILIES, count: int = MANY, height: int = HEIGHT, width: int = WIDTH
) -> Augmentation:
    return draw(order, families, height, width, Key(0, "augmentation").generator(), count)


def applied(augmentation: Augmentation, row: int) -> set[str]:
    """The families whose parameters differ from their identity in one draw."""
    (a, b, dx), (c, d, dy) = augmentation.warp_n23[row].tolist()
    found = {
        "flip": bool(augmentation.flip_n[row]),
        "brightness": bool(augmentation.brightness_n[row] != 0),
        "saturation": bool(augmentation.saturation_n[row] != 1),
        "contrast": bool(augmentation.contrast_n[row] != 1),
        "crop": dx != 0 or dy != 0,
        "rotate": b != 0 or c != 0,
        "scale": b == 0 and c == 0 and (a != 1 or d != 1),
        "cutout": bool(augmentation.cutout_n4[row].any()),
    }
    return {name for name, is_on in found.items() if is_on}


def sets(augmentation: Augmentation, count: int = MANY) -> list[set[str]]:
    return [applied(augmentation, row) for row in range(count)]


def noise(count: int = 3, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


# Which families


def test_no_augmentation_returns_its_input() -> None:
    augmentation = drawn("none")
    images = noise()
    assert all(not found for found in sets(augmentation))
    assert augmentation(images) is images


def test_dsa_applies_one_family_where_colour_counts_as_one() -> None:
    found = sets(drawn("dsa"))
    kinds = [frozenset("colour" if name in COLOUR else name for name in names) for names in found]
    assert all(len(kind) <= 1 for kind in kinds)  # none at all where a flip or a shift of 0 was drawn
    counts = {name: sum(name in kind for kind in kinds) for name in ("flip", "colour", "crop", "scale", "rotate", "cutout")}
    for name, count in counts.items():
        expected = MANY / 6 * (0.5 if name == "flip" else 1)
        assert 0.75 * expected < count < 1.25 * expected, (name, count)
    assert all(names >= COLOUR for names in found if names & COLOUR)


def test_idc_applies_flip_colour_one_warp_and_cutout() -> None:
    found = sets(drawn("idc"))
    assert all(names >= COLOUR | {"cutout"} for names in found)
    assert all(len(names & WARPS) <= 1 for names in found)
    assert 0.4 * MANY < sum("flip" in names for names in found) < 0.6 * MANY
    for name in WARPS:
        assert 0.26 * MANY < sum(name in names for names in found) < 0.4 * MANY


@pytest.mark.parametrize("order", ["dsa", "idc"])
@pytest.mark.parametrize("left_out", [*((name,) for name in FAMILIES), *list(combinations(FAMILIES, 6))[::5]])
def test_families_that_are_left_out_are_never_applied(order: Order, left_out: tuple[Family, ...]) -> None:
    used = [name for name in FAMILIES if name not in left_out]
    found = set().union(*sets(drawn(order, used, count=300), 300))
    assert found == set(used)


@pytest.mark.parametrize("order", ["dsa", "idc"])
def test_no_family_in_use_is_the_identity(order: Order) -> None:
    assert all(not found for found in sets(drawn(order, (), count=20), 20))


# Their ranges


def test_ranges() -> None:
    augmentation = drawn("idc")
    for values, low, high in (
        (augmentation.brightness_n, -0.5, 0.5),
        (augmentation.saturation_n, 0.0, 2.0),
        (augmentation.contrast_n, 0.5, 1.5),
    ):
        assert low <= values.min() < low + 0.02 and high - 0.02 < values.max() <= high


def test_crop_shifts_by_whole_pixels_up_to_an_eighth() -> None:
    shifts_n2 = drawn("idc", ["crop"], height=16, width=24).warp_n23[:, :, 2] * torch.tensor([23, 15]) / 2
    assert torch.allclose(shifts_n2, shifts_n2.round(), atol=1e-5)
    assert set(shifts_n2[:, 0].round().int().tolist()) == set(range(-3, 4))
    assert set(shifts_n2[:, 1].round().int().tolist()) == set(range(-2, 3))


@pytest.mark.parametrize(
    ("size", "reach"),
    [(3, 0), (4, 1), (8, 1), (12, 2), (16, 2), (20, 3), (28, 4), (32, 4), (36, 5), (84, 11), (224, 28)],
)
def test_a_crop_reaches_an_eighth_with_halves_rounded_up(size: int, reach: int) -> None:
    assert crop_reach(size) == reach
    shifts_n = drawn("idc", ["crop"], height=size, width=32).warp_n23[:, 1, 2] * (size - 1) / 2
    assert set(shifts_n.round().int().tolist()) == set(range(-reach, reach + 1))


def test_scale_draws_each_axis_by_itself() -> None:
    factors_n2 = drawn("idc", ["scale"]).warp_n23[:, [0, 1], [0, 1]]
    assert 1 / 1.2 <= factors_n2.min() < 0.84 and 1.19 < factors_n2.max() <= 1.2
    correlation = torch.corrcoef(factors_n2.T)[0, 1]
    assert abs(correlation) < 0.1


def test_rotation_turns_by_up_to_15_degrees_without_shearing_pixels() -> None:
    matrix_n22 = drawn("idc", ["rotate"]).warp_n23[:, :, :2]
    pixels = torch.diag(torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2]))
    turned_n22 = pixels @ matrix_n22 @ pixels.inverse()
    angle_n = torch.atan2(turned_n22[:, 1, 0], turned_n22[:, 0, 0])
    assert torch.allclose(turned_n22 @ turned_n22.mT, torch.eye(2).expand(MANY, 2, 2), atol=1e-5)
    limit = math.radians(15)
    assert -limit <= angle_n.min() < -0.98 * limit and 0.98 * limit < angle_n.max() <= limit + 1e-6


def test_cutout_is_half_the_side_clipped_at_the_border() -> None:
    top, bottom, left, right = drawn("idc", ["cutout"]).cutout_n4.unbind(1)
    assert top.min() == left.min() == 0 and bottom.max() == HEIGHT and right.max() == WIDTH
    heights, widths = bottom - top, right - left
    assert heights.max() == HEIGHT // 2 and widths.max() == WIDTH // 2
    assert heights.min() == HEIGHT // 4 and widths.min() == WIDTH // 4


# What they do to images


def parameters(**changes: Tensor) -> Augmentation:
    fields = {
        "flip_n": torch.tensor([False]),
        "brightness_n": torch.zeros(1),
        "saturation_n": torch.ones(1),
        "contrast_n": torch.ones(1),
        "warp_n23": IDENTITY[None],
        "cutout_n4": torch.zeros(1, 4, dtype=torch.long),
    }
    return Augmentation(**(fields | changes))  # type: ignore[arg-type]  # none of them is a copy


def test_identity_of_everything_returns_its_input() -> None:
    images = noise()
    assert parameters()(images) is images


@pytest.mark.parametrize("height", [2, 7, 8, 32])
def test_the_identity_warp_returns_its_input(height: int) -> None:
    images = noise(height=height)
    assert torch.allclose(warp(images, IDENTITY[None]), images, atol=1e-5)


def test_flip_mirrors_left_and_right() -> None:
    images = noise()
    assert torch.equal(parameters(flip_n=torch.tensor([True]))(images), images.flip(3))


def test_colour_changes_what_its_formulas_say() -> None:
    images = noise()
    assert torch.allclose(parameters(brightness_n=torch.tensor([0.3]))(images), images + 0.3)
    over_channels = images.mean(1, keepdim=True)
    assert torch.allclose(
        parameters(saturation_n=torch.tensor([1.7]))(images), (images - over_channels) * 1.7 + over_channels, atol=1e-6
    )
    over_image = images.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(
        parameters(contrast_n=torch.tensor([0.6]))(images), (images - over_image) * 0.6 + over_image, atol=1e-6
    )


def test_a_shift_by_two_pixels_moves_the_image_and_fills_with_zeros() -> None:
    images = noise()
    shifted = IDENTITY.clone()
    shifted[0, 2] = 2 * 2 / (WIDTH - 1)
    moved = parameters(warp_n23=shifted[None])(images)
    assert torch.allclose(moved[..., :-2], images[..., 2:], atol=1e-5)
    assert moved[..., -2:].abs().max() < 1e-5


def test_a_quarter_turn_maps_rows_to_columns() -> None:
    images = noise(height=HEIGHT, width=HEIGHT)
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    assert torch.allclose(parameters(warp_n23=turn[None])(images), images.rot90(1, (2, 3)), atol=1e-4)


def test_cutout_zeroes_its_rectangle_only() -> None:
    images = noise()
    cut = parameters(cutout_n4=torch.tensor([[2, 6, 1, 4]]))(images)
    assert not cut[:, :, 2:6, 1:4].any()
    kept = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    kept[2:6, 1:4] = False
    assert torch.equal(cut[:, :, kept], images[:, :, kept])


@pytest.mark.parametrize("order", ["dsa", "idc"])
def test_one_draw_does_the_same_to_every_image_whatever_the_batch(order: Order) -> None:
    images = noise(5)
    for batch in range(8):
        augment = draw(order, FAMILIES, HEIGHT, WIDTH, Key(0, "augmentation", batch=batch).generator())
        together = augment(images)
        alone = torch.cat([augment(image[None]) for image in images])
        assert torch.allclose(together, alone, atol=1e-6)
        again = draw(order, FAMILIES, HEIGHT, WIDTH, Key(0, "augmentation", batch=batch).generator())
        assert torch.equal(again(images[:2]), augment(images[:2]))


def test_a_draw_per_image_treats_images_apart() -> None:
    images = noise(1).expand(4, 3, HEIGHT, WIDTH)
    augmented = drawn("idc", count=4)(images)
    assert all(not torch.equal(augmented[i], augmented[j]) for i, j in combinations(range(4), 2))


def test_leaving_a_family_out_does_not_change_the_draws_of_the_others() -> None:
    every, without_flip = drawn("idc"), drawn("idc", [name for name in FAMILIES if name != "flip"])
    assert not without_flip.flip_n.any()
    for field in ("brightness_n", "saturation_n", "contrast_n", "warp_n23", "cutout_n4"):
        assert torch.equal(getattr(every, field), getattr(without_flip, field))


def test_augmentation_is_differentiable() -> None:
    images = noise(2).double().requires_grad_()
    assert torch.autograd.gradcheck(drawn("idc", count=1), [images])


def test_draws_leave_the_global_generators_alone() -> None:
    state = torch.get_rng_state()
    drawn("idc", count=3)(noise())
    assert torch.equal(torch.get_rng_state(), state)


# In float64


def in_numpy(order: Order, families: Collection[Family], images_BCHW: NDArray[np.float64], key: Key) -> NDArray[np.float64]:
    """Augmentation as DSA and IDC state it, one draw for all images, from the uniform numbers of
    the key."""
    u = torch.rand(1, 12, generator=key.generator()).double().numpy()[0]
    height, width = images_BCHW.shape[2:]
    warps = [name for name in ("crop", "scale", "rotate") if name in families]
    if order == "dsa":
        groups = [["flip"], ["brightness", "saturation", "contrast"], *([name] for name in warps), ["cutout"]]
        groups = [group for group in groups if set(group) & set(families)]
        on = {name for name in groups[int(u[0] * len(groups))] if name in families}
    else:
        on = set(families) - WARPS | ({warps[int(u[1] * len(warps))]} if warps else set())
    images = images_BCHW
    if "flip" in on and u[2] < 0.5:
        images = images[..., ::-1]
    if "brightness" in on:
        images = images + (u[3] - 0.5)
    if "saturation" in on:
        mean = images.mean(axis=1, keepdims=True)
        images = (images - mean) * (2 * u[4]) + mean
    if "contrast" in on:
        mean = images.mean(axis=(1, 2, 3), keepdims=True)
        images = (images - mean) * (u[5] + 0.5) + mean
    # Where a pixel comes from, in pixels from the centre of the image.
    y, x = np.mgrid[:height, :width] - np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    if "crop" in on:
        reach_x, reach_y = (int(side / 8 + 0.5) for side in (width, height))
        x, y = x + int(u[6] * (2 * reach_x + 1)) - reach_x, y + int(u[7] * (2 * reach_y + 1)) - reach_y
    if "scale" in on:
        x, y = (axis * (1 / 1.2 + number * (1.2 - 1 / 1.2)) for axis, number in ((x, u[6]), (y, u[7])))
    if "rotate" in on:
        angle = (2 * u[8] - 1) * np.pi / 12
        x, y = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
    if on & WARPS:
        images = bilinear(images, y + (height - 1) / 2, x + (width - 1) / 2)
    if "cutout" in on:
        kept = np.ones((height, width))
        row, column = int(u[10] * height) - height // 4, int(u[11] * width) - width // 4
        kept[max(row, 0) : max(row + height // 2, 0), max(column, 0) : max(column + width // 2, 0)] = 0
        images = images * kept
    return images


def bilinear(images_BCHW: NDArray[np.float64], y_HW: NDArray[np.float64], x_HW: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at positions in pixels, zeros outside."""
    padded = np.pad(images_BCHW, ((0, 0), (0, 0), (8, 8), (8, 8)))
    top, left = np.floor(y_HW).astype(int), np.floor(x_HW).astype(int)
    down, right = y_HW - top, x_HW - left
    total = np.zeros_like(images_BCHW)
    for step_y, part_y in ((0, 1 - down), (1, down)):
        for step_x, part_x in ((0, 1 - right), (1, right)):
            total += padded[:, :, top + step_y + 8, left + step_x + 8] * part_y * part_x
    return total


@pytest.mark.parametrize("order", ["dsa", "idc"])
@pytest.mark.parametrize(("height", "width"), [(8, 12), (20, 16)])
def test_float64_is_float64_throughout(order: Order, height: int, width: int) -> None:
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    moved = set()
    for families in [FAMILIES, *((name,) for name in FAMILIES)]:
        for batch in range(12):
            key = Key(3, "augmentation", batch=batch)
            augment = draw(order, families, height, width, key.generator(), dtype=torch.float64)
            found = augment(images)
            expected = in_numpy(order, families, images.numpy(), key)
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)
            moved |= applied(augment, 0)
            single = draw(order, families, height, width, key.generator())
            assert applied(single, 0) == applied(augment, 0)  # the same choices
            torch.testing.assert_close(single.warp_n23, augment.warp_n23.float(), rtol=0, atol=1e-6)
    assert moved == set(FAMILIES)
