from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from hmdc_ray.data.packing import check_formation, decode, pack
from hmdc_ray.errors import InputError

ROUNDING = 4 * torch.finfo(torch.float32).eps
"""Exact but for the interpolation, whose two weights times a constant may differ from it in the
last bits."""


def constant_images(count: int, height: int, width: int) -> Tensor:
    """Image n has the value n everywhere in its first channel, n + 100 in its second."""
    values_NC = torch.arange(count)[:, None] + torch.tensor([0.0, 100.0])
    return values_NC[:, :, None, None].expand(count, 2, height, width).clone()


@pytest.mark.parametrize(("factor", "height", "width"), [(1, 5, 7), (2, 8, 4), (3, 6, 9), (4, 16, 16)])
def test_packing_then_decoding_constant_tiles_is_exact_and_keeps_order(factor: int, height: int, width: int) -> None:
    images_NCHW = constant_images(3 * factor**2, height, width)
    packed = pack(images_NCHW, factor)
    assert packed.shape == (3, 2, height, width)
    assert_close(decode(packed, factor), images_NCHW, rtol=ROUNDING, atol=0)


def test_decoded_images_come_tile_by_tile_then_stored_image_by_stored_image() -> None:
    stored, factor, side = 3, 2, 4
    images_NCHW = torch.zeros(stored, 1, side, side)
    for t in range(stored):
        for row in range(factor):
            for column in range(factor):
                images_NCHW[t, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 100 * row + 10 * column + t
    decoded = decode(images_NCHW, factor)
    for t in range(stored):
        for row in range(factor):
            for column in range(factor):
                tile = decoded[(row * factor + column) * stored + t]
                assert_close(tile, torch.full((1, side, side), 100.0 * row + 10 * column + t), rtol=ROUNDING, atol=0)


def test_tiles_are_enlarged_with_their_corners_kept() -> None:
    images_NCHW = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    first, *_, last = decode(images_NCHW, 2)
    assert torch.allclose(first[0, [0, 0, -1, -1], [0, -1, 0, -1]], images_NCHW[0, 0, [0, 0, 3, 3], [0, 3, 0, 3]])
    assert torch.allclose(last[0, -1, -1], images_NCHW[0, 0, 7, 7])
    # Linear in between: a tile of 4 pixels becomes 8, so that pixel 1 lies at 3/7 between pixels 0
    # and 1.
    expected = images_NCHW[0, 0, 0, 0] * 4 / 7 + images_NCHW[0, 0, 0, 1] * 3 / 7
    assert torch.allclose(first[0, 0, 1], expected)


def test_one_training_image_per_stored_image_is_left_alone() -> None:
    images_NCHW = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(decode(images_NCHW, 1), images_NCHW)
    assert torch.equal(pack(images_NCHW, 1), images_NCHW)


def test_decoding_is_differentiable() -> None:
    images_NCHW = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda images: decode(images, 2), [images_NCHW])


@pytest.mark.parametrize(("height", "width"), [(9, 8), (8, 9)])
def test_a_factor_that_does_not_divide_the_image_is_refused(height: int, width: int) -> None:
    with pytest.raises(InputError, match=rf"images.formation is 2, .* {height}x{width}: use a common divisor"):
        check_formation(2, height, width)
    with pytest.raises(InputError, match="formation"):
        pack(torch.zeros(4, 1, height, width), 2)
    check_formation(3, 9, 6)
