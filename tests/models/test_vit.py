"""Vision transformers follow the image size."""

from __future__ import annotations

import math

import pytest

from hmdc_ray.models import ImageShape
from models.networks import CIFAR, DIGITS, MNIST, make, refusal


@pytest.mark.parametrize(
    ("shape", "width", "depth", "patches"), [(CIFAR, 192, 12, 64), (MNIST, 192, 12, 49), (DIGITS, 64, 3, 16)]
)
def test_vit_follows_the_image_size(shape: ImageShape, width: int, depth: int, patches: int) -> None:
    network = make("vit", shape)
    side = math.isqrt(patches)
    assert {(tap.channels, tap.height, tap.width) for tap in network.taps} == {(width, side, side)}
    assert [tap.module for tap in network.taps] == [f"blocks.{block}" for block in range(depth)]


@pytest.mark.parametrize(
    ("depth", "taps", "blocks"), [(12, 4, [2, 5, 8, 11]), (7, 3, [1, 3, 6]), (2, 1, [1]), (5, 5, range(5))]
)
def test_a_vit_has_as_many_taps_as_are_asked_for(depth: int, taps: int, blocks: list[int]) -> None:
    network = make("vit", DIGITS, depth=depth, width=8, heads=2, taps=taps)
    assert [tap.module for tap in network.taps] == [f"blocks.{block}" for block in blocks]
    message = refusal("vit", DIGITS, depth=depth, width=8, heads=2, taps=depth + 1)
    assert message.startswith(f"option 'taps' is {depth + 1}, but the network has {depth}: must be 1 to that many")


def test_sides_and_widths_that_do_not_divide_are_refused() -> None:
    message = refusal("vit", ImageShape(3, 30, 32))
    assert message.startswith("images are 3x30x32, their sides must be multiples of patch_size, which is 4")
    assert refusal("vit", width=64).startswith("option 'width' is 64, must be a multiple of heads, which is 3")
