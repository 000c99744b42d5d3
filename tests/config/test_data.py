"""Where images come from: what its fields refuse."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hmdc_ray.config import DataConfig


def test_classes_are_names_or_numbers() -> None:
    for value in ([], [True], [1.5]):
        with pytest.raises(ValidationError):
            DataConfig(classes=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cifar01", "did you mean 'cifar10'"),
        ("0.5,0.4:1", "2 means, but 1 deviations"),
        ("0.5:0", "the deviations above 0"),
        ("123.7,116.3,103.5:58.4,57.1,57.4", "divide those of 0 to 255 by 255"),
        ("a:b", "must be numbers MEAN,..:STD,.."),
        ({"mean": [0.5], "std": ["x"]}, "must be numbers"),
        ({"mean": [0.5]}, "statistics has mean: must have mean and std"),
        ("0.5,0.4", "not known: known: cifar10.*, svhn; or give MEAN"),
        (0.5, "valid string"),
    ],
)
def test_bad_statistics(value: Any, expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        DataConfig(statistics=value)
