"""MLP: its size in the DC protocol."""

from __future__ import annotations

from models.networks import CIFAR, MNIST, make, parameters


def test_parameters_are_those_of_the_dc_protocol() -> None:
    assert [parameters(make("mlp", shape)) for shape in (CIFAR, MNIST)] == [411_146, 118_282]
