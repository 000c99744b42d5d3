import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hmdc_ray.config import Family
from hmdc_ray.data.augment import draw
from hmdc_ray.evaluation.augmentation import _transforms, crop_scale_rotate, variation
from hmdc_ray.evaluation.protocol import PROTOCOLS, Recipe

NO_SHIFT, NO_SCALE, NO_ANGLE = torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(1)


def warp(image: Tensor, kind: int, shift: Tensor = NO_SHIFT, scale: Tensor = NO_SCALE, angle: Tensor = NO_ANGLE) -> Tensor:
    transforms = _transforms(torch.tensor([kind]), shift, scale, angle, *image.shape[2:])
    return F.grid_sample(image, F.affine_grid(transforms, list(image.shape), align_corners=False), align_corners=False)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_identity_returns_the_image(kind: int) -> None:
    image = torch.randn(1, 3, 9, 12, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(warp(image, kind), image, rtol=0, atol=1e-5)


def test_shift_moves_whole_pixels() -> None:
    image = torch.randn(1, 1, 8, 12, generator=torch.Generator().manual_seed(0))

    moved = warp(image, 0, shift=torch.tensor([[3.0, -2.0]]))  # x, y of what is seen

    torch.testing.assert_close(moved[:, :, 2:, :-3], image[:, :, :-2, 3:], rtol=0, atol=1e-5)
    assert moved[:, :, :, -3:].abs().max() < 1e-5


def test_rotation_of_a_non_square_image_keeps_distances() -> None:
    image = torch.zeros(1, 1, 9, 21)
    image[0, 0, 4, 13] = 1.0  # 3 pixels right of the centre

    turned = warp(image, 2, angle=torch.tensor([math.pi / 2]))

    row, column = divmod(int(turned.argmax()), 21)
    assert (abs(row - 4), column) == (3, 10)


def test_scale_enlarges_per_axis() -> None:
    image = torch.zeros(1, 1, 11, 11)
    image[0, 0, 5, 8] = 1.0  # 3 right of the centre, enlarged to 6 times 0.5

    stretched = warp(image, 1, scale=torch.tensor([[5 / 3, 1.0]]))

    assert int(stretched[0, 0, 5].argmax()) == 10


def test_images_are_varied_one_by_one_and_the_outside_has_the_mean() -> None:
    bright, dark = torch.full((64, 1, 10, 10), 2.0), torch.full((64, 1, 10, 10), -2.0)

    varied = crop_scale_rotate(torch.cat([bright, dark]), torch.Generator().manual_seed(0))

    outcomes = {tuple(image.flatten().round(decimals=4).tolist()) for image in varied[:64]}
    assert len(outcomes) > 20
    assert varied.min() >= -2.001 and varied.max() <= 2.001
    assert (varied[:64] - varied[:64].round()).abs().amin() < 1e-4
    assert (varied[:64].abs() < 1e-4).any()  # mean of the batch, 0, where an image was moved away


def test_same_generator_same_images_and_global_state_untouched() -> None:
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    before = torch.get_rng_state()

    first, second, other = (crop_scale_rotate(images, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))

    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_a_constant_batch_stays_constant() -> None:
    images = torch.full((32, 2, 8, 8), 0.7)

    torch.testing.assert_close(crop_scale_rotate(images, torch.Generator().manual_seed(0)), images)


def test_a_recipe_names_its_variation() -> None:
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))

    def varied(recipe: Recipe) -> Tensor:
        vary = variation(recipe, torch.Generator().manual_seed(2))
        assert vary is not None
        return vary(images)

    assert variation(PROTOCOLS["dc"].plain, torch.Generator()) is None
    dc = varied(PROTOCOLS["dc"].varied)
    assert torch.equal(dc, crop_scale_rotate(images, torch.Generator().manual_seed(2)))
    idc = varied(PROTOCOLS["idc"].varied)
    assert not torch.equal(idc, dc) and idc.shape == images.shape


def test_families_that_are_out_of_use_change_nothing() -> None:
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    vary = variation(replace(PROTOCOLS["idc"].varied, families=("flip",)), torch.Generator().manual_seed(2))
    assert vary is not None
    flipped = [torch.equal(new, old.flip(2)) for old, new in zip(images, vary(images), strict=True)]
    kept = [torch.equal(new, old) for old, new in zip(images, vary(images), strict=True)]
    assert 0 < sum(flipped) < 16 and 0 < sum(kept) < 16


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_idc_warps_a_batch_in_one_way_and_each_image_by_its_own_amount(height: int, width: int) -> None:
    def warps(recipe: Recipe, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return draw("idc", ("crop", "scale", "rotate"), height, width, generator, 64, one_warp=recipe.one_warp).warp_n23

    def kinds(warp_n23: Tensor) -> tuple[bool, bool, bool]:
        """Whether any image is cropped, scaled, rotated."""
        turned = warp_n23[:, 0, 1] != 0
        scaled = ~turned & (warp_n23[:, 0, 0] != 1)
        return bool((warp_n23[:, :, 2] != 0).any()), bool(scaled.any()), bool(turned.any())

    batches = [warps(PROTOCOLS["idc"].varied, seed) for seed in range(12)]
    assert all(len(batch.unique(dim=0)) > 20 for batch in batches)
    assert all(sum(kinds(batch)) == 1 for batch in batches)
    assert len({kinds(batch) for batch in batches}) == 3
    assert all(kinds(warps(PROTOCOLS["hmdc"].varied, seed)) == (True, True, True) for seed in range(3))


@pytest.mark.parametrize(
    ("protocol", "cutmix", "cuts"), [("idc", True, False), ("idc", False, True), ("hmdc", True, True), ("hmdc", False, True)]
)
@pytest.mark.parametrize("families", [("cutout",), ("brightness", "cutout")])
def test_cutout_is_left_out_where_idc_mixes(protocol: str, cutmix: bool, cuts: bool, families: tuple[Family, ...]) -> None:
    images = torch.full((16, 1, 12, 12), 3.0)
    recipe = replace(PROTOCOLS[protocol].varied, families=families, cutmix=cutmix)
    vary = variation(recipe, torch.Generator().manual_seed(0))
    assert vary is not None
    assert bool((vary(images) == 0).any()) == cuts
