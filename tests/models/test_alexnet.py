"""AlexNet: its size in the DC protocol, and what it refuses."""

from __future__ import annotations

from hmdc_ray.models import ImageShape
from models.networks import CIFAR, MNIST, make, parameters, refusal


def test_parameters_are_those_of_the_dc_protocol() -> None:
    assert [parameters(make("alexnet", shape)) for shape in (CIFAR, MNIST)] == [1_872_202, 1_865_802]


def test_smaller_images_are_refused() -> None:
    assert "must be at least 8x8 pixels" in refusal("alexnet", ImageShape(3, 4, 4))
