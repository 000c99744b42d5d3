"""LeNet: its size in the DC protocol, and what it refuses."""

from __future__ import annotations

from hmdc_ray.models import ImageShape
from models.networks import CIFAR, MNIST, make, parameters, refusal


def test_parameters_are_those_of_the_dc_protocol() -> None:
    assert [parameters(make("lenet", shape)) for shape in (CIFAR, MNIST)] == [62_006, 61_706]


def test_smaller_images_are_refused() -> None:
    assert "images are 1x8x12, must be at least 12x12 pixels" in refusal("lenet", ImageShape(1, 8, 12))
    assert "must be at least 16x16 pixels" in refusal("lenet", ImageShape(3, 14, 14))
