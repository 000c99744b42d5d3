"""VGG11: its size in the DC protocol, its poolings, and what it refuses."""

from __future__ import annotations

import pytest

from hmdc_ray.models import ImageShape
from models.networks import CIFAR, DIGITS, MNIST, draw, make, parameters, refusal


@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        (CIFAR, [16, 8, 4, 2, 1]),
        (MNIST, [16, 8, 4, 2, 1]),
        (DIGITS, [8, 4, 2, 2, 1]),
        (ImageShape(3, 28, 28), [14, 7, 3, 3, 1]),
        (ImageShape(3, 8, 8), [4, 2, 2, 2, 1]),
    ],
    ids=str,
)
def test_small_images_are_pooled_less_often_so_that_no_norm_sees_a_single_pixel(shape: ImageShape, sides: list[int]) -> None:
    network = make("vgg11", shape, width=8)
    assert [tap.height for tap in network.taps] == [tap.width for tap in network.taps] == sides
    maps = network.observe(draw(shape)).features
    assert all(each.flatten(1).std(dim=0).max() > 0 for each in maps), "a stage tells no image from another"


def test_parameters_are_those_of_the_dc_protocol() -> None:
    assert [parameters(make("vgg11", shape)) for shape in (CIFAR, MNIST)] == [9_231_114, 9_229_962]


def test_smaller_images_are_refused() -> None:
    assert refusal("vgg11", ImageShape(1, 6, 16)).startswith("images are 1x6x16, must be at least 8x8 pixels")
