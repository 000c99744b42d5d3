"""Grey images of 28x28 pixels are padded as in the code of gradient matching; images too small are
refused."""

from __future__ import annotations

import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.models import ImageShape


def test_only_images_of_mnist_have_a_margin() -> None:
    shapes = [ImageShape(1, 28, 28), ImageShape(3, 28, 28), ImageShape(1, 28, 32), ImageShape(1, 32, 32)]
    assert [shape.margin for shape in shapes] == [2, 0, 0, 0]


def test_the_shorter_side_counts_with_its_margin() -> None:
    ImageShape(1, 16, 8).require(8)
    ImageShape(1, 28, 28).require(32, 2)
    with pytest.raises(InputError, match=r"images are 1x16x7, must be at least 8x8 pixels .* such as \[8, 8\]"):
        ImageShape(1, 16, 7).require(8)
    with pytest.raises(InputError, match="must be at least 29x29 pixels"):
        ImageShape(1, 28, 28).require(33, 2)
