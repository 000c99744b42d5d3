"""ResNet18: its size in the DC protocol, and what it refuses."""

from __future__ import annotations

from hmdc_ray.models import ImageShape
from models.networks import CIFAR, MNIST, make, parameters, refusal


def test_parameters_are_those_of_the_dc_protocol() -> None:
    assert [parameters(make("resnet18", shape)) for shape in (CIFAR, MNIST)] == [11_173_962, 11_172_810]


def test_smaller_images_are_refused() -> None:
    assert "use larger images or another norm" in refusal("resnet18", ImageShape(3, 8, 8))
