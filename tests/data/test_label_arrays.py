"""Labels of any kind that says one class for each image are class numbers; soft ones are refused
with their row."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from hmdc_ray.data.label_arrays import class_numbers, without_images
from hmdc_ray.errors import InputError

NUMBERS = [0, 2, 1, 0]
LABELS = torch.tensor(NUMBERS)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint64])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_any_integers(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    kinds: list[Any] = [LABELS.to(dtype).view(shape), LABELS.to(dtype).view(shape).numpy(), np.array(NUMBERS, ">u4")]
    for labels in kinds:
        read = class_numbers(labels)
        assert read.labels.tolist() == NUMBERS and read.labels.dtype == np.int64
        assert read.classes is None and read.note == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_whole_numbers(dtype: torch.dtype) -> None:
    read = class_numbers(LABELS.to(dtype))
    assert read.labels.tolist() == NUMBERS and read.note == f"labels are whole numbers as {dtype}"


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.bfloat16])
def test_one_hot_labels_say_how_many_classes_there_are(dtype: torch.dtype) -> None:
    read = class_numbers(torch.eye(10)[LABELS + 3].to(dtype))
    assert read.labels.tolist() == [3, 5, 4, 3] and read.classes == 10 and read.note == "one-hot labels of 10 columns"


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (
            [[0.9, 0.1], [1, 0], [0, 1]],
            "torch.float32 [3, 2], must be integers, one an image (not soft labels): row 0 is not a",
        ),
        ([[1, 0], [0, 0], [0, 1]], "row 1 is not a single 1 among zeros"),
        ([[1, 0], [0, 1], [1, 1]], "row 2 is not a single 1 among zeros"),
        ([[1, 0], [0, 1], [-1, 1]], "row 2 is not a single 1 among zeros"),
        ([0, 1, 1.5], "torch.float32 [3], must be integers, one an image (not soft labels): row 2 is 1.5"),
        ([0, 1, float("inf")], "row 2 is inf"),
        ([0, float("nan"), 1], "row 1 is nan"),
        ([True, False], "torch.bool [2], must be integers"),
        ([[1j, 0], [0, 1]], "torch.complex64 [2, 2], must be integers"),
        ([-1, 0], "label of row 0 is -1, must be 0 to 999999"),
        ([0, 10**6], "label of row 1 is 1000000, must be 0 to 999999"),
        (np.array([0, 2**63], np.uint64), f"label of row 1 is {2**63}, must be 0 to 999999"),
        (np.array([0, 2**64 - 1], np.uint64), f"label of row 1 is {2**64 - 1}, must be 0 to 999999"),
    ],
)
def test_soft_labels_and_odd_numbers_are_refused_with_the_row(labels: Any, problem: str) -> None:
    with pytest.raises(InputError, match=re.escape(problem)):
        class_numbers(labels if isinstance(labels, np.ndarray) else torch.tensor(labels))


def test_classes_without_images_are_named() -> None:
    assert without_images([3, 5], tuple("abcdef")) == "classes a, b, c, e have no image"
    assert without_images([1], ("a", "b")) == "class a has no image" and without_images([1, 0], ("a", "b")) == ""
