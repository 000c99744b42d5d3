"""Statistics by name, or by numbers."""

from __future__ import annotations

from hmdc_ray.config.statistics import KNOWN, parse_statistics


def test_statistics_in_any_case() -> None:
    assert parse_statistics("FashionMNIST") == parse_statistics("fashionmnist") == KNOWN["fashionmnist"]
    assert parse_statistics("CIFAR10") == parse_statistics("cifar10") == KNOWN["cifar10"]


def test_statistics_as_numbers() -> None:
    assert parse_statistics("0.5,0.4,.3:1,2,3e-1") == ((0.5, 0.4, 0.3), (1.0, 2.0, 0.3))
