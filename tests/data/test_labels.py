"""Labels are class numbers or names; classes can be chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data.dataset_files import IMAGES, opened, random_images, refusal, structs, table, write
from hmdc_ray.data.labels import select_classes

BAD_LABELS: dict[str, tuple[Any, list[str] | None, str]] = {
    "null": ([0, 1, None, 1], None, "row 2: label is null"),
    "negative": ([0, 1, 0, -2], None, "row 3: label is -2"),
    "unlabelled": ([0, 1, 0, -1], None, "row 3: label is -1; must be 0 to 999999 (-1 stands for images without labels"),
    "empty text": (["a", "b", "", "b"], None, "row 2: label is an empty text"),
    "out of range": ([0, 1, 2, 1], ["a", "b"], "row 2: label is 2; must be 0 to 1"),
    "absurd": ([0, 1, 10**12, 1], None, "row 2: label is 1000000000000"),
    "beyond int64": (pa.array([0, 1, 2**64 - 1, 1], pa.uint64()), None, "row 2: label is 18446744073709551615"),
    "gap": ([0, 2, 0, 2], None, "class '1' (label 1) has no training images"),
    "unused name": ([0, 1, 0, 1], ["a", "b", "never"], "class 'never' (label 2) has no training images"),
    "unknown name": (["a", "b", "x", "b"], ["a", "b"], "row 2: label is 'x', not one of the 2 class names"),
    "floats": ([0.0, 1.0, 0.0, 1.0], None, "'label' (data.label_column) holds double; labels are integers or strings"),
    "doubled names": ([0, 1, 0, 1], ["a", "a"], "list of different strings"),
    "one image per class": ([0, 1, 2, 3], None, "no test images"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels(tmp_path: Path, case: str) -> None:
    labels, names, expected = BAD_LABELS[case]
    message = refusal(tmp_path, write(tmp_path / "bad.parquet", structs(random_images(4, 4, 4)), labels, names))
    assert expected in message and "bad.parquet" in message


def test_class_with_test_images_only(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", structs(random_images(2, 4, 4)), ["ant", "cat"])
    write(tmp_path / "test.parquet", structs(random_images(2, 4, 4)), ["ant", "bee"])
    assert "class 'bee' (label 1) has no training images" in refusal(tmp_path, tmp_path)


# A choice of classes

TEN = [f"name{label}" for label in range(10)]


@pytest.mark.parametrize("chosen", [("name5", "name3"), (5, 3), ("name5", 3)])
def test_a_choice_of_classes_in_its_order(tmp_path: Path, chosen: tuple[str | int, ...]) -> None:
    labels = [3, 5, 3, 5, 5, 9, 3, 5, 3, 3, 5, 9]
    path = write(tmp_path / "data.parquet", structs(IMAGES), labels, TEN)  # seven of the ten have no image at all
    dataset = opened(tmp_path, path, classes=chosen)
    assert dataset.info.class_names == ("name5", "name3")
    assert sum(dataset.info.sizes.values()) == 10
    fives = [row for row, label in enumerate(labels) if label == 5]
    found = np.concatenate([dataset.pixels(split, dataset.class_rows(split, 0)).numpy() for split in ("train", "test")])
    assert sorted(image.tobytes() for image in found[:, 0]) == sorted(IMAGES[row].tobytes() for row in fives)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (("nam3", "name5"), "has 'nam3', which is no class; did you mean 'name3'?"),
        ((3, 10), "has class 10, which does not exist; classes are 0 to 9"),
        ((3, "name3"), "names class 3 more than once"),
        ((3, 4), "class 'name4' (label 1) has no training images"),
    ],
)
def test_bad_choices_of_classes(tmp_path: Path, chosen: tuple[str | int, ...], expected: str) -> None:
    path = write(tmp_path / "data.parquet", structs(IMAGES), [3, 5] * 6, TEN)
    assert expected in refusal(tmp_path, path, classes=chosen)


def test_numbers_that_are_names_of_other_classes_are_not_guessed(tmp_path: Path) -> None:
    path = table(tmp_path, label=["1", "2", "3"] * 4)
    message = refusal(tmp_path, path, classes=(1, 2))
    assert "class number 1 is called '2', and number 0 is called '1'" in message and "in quotes" in message
    assert opened(tmp_path, path, classes=("1", "2")).info.class_names == ("1", "2")
    years = table(tmp_path, name="years.parquet", label=["2019", "2020", "2021"] * 4)
    assert "classes are 0 to 2; write '2020' in quotes" in refusal(tmp_path, years, classes=(2020,))


def test_many_classes_are_chosen_quickly() -> None:
    names = tuple(map(str, range(50_000)))
    labels, kept, rows = select_classes(np.arange(50_000), names, names[::-1])
    assert labels[0] == 49_999 and kept == names[::-1] and rows.all()
