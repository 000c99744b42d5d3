"""A column of splits is used, or refused where it is unclear, and never ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data.dataset_files import IMAGES, opened, refusal, structs, table, write
from hmdc_ray.data.description import describe

SPLIT = ["train"] * 8 + ["test"] * 4


@pytest.mark.parametrize(
    "column",
    [
        {"split": SPLIT},
        {"Split": ["Training"] * 8 + ["EVAL"] * 4},
        {"split": pa.array(SPLIT).dictionary_encode()},
    ],
)
def test_a_column_of_splits_is_used(tmp_path: Path, column: dict[str, Any]) -> None:
    dataset = opened(tmp_path, table(tmp_path, label=[0, 1] * 6, **column))
    assert dataset.info.sizes == {"train": 8, "validation": 0, "test": 4}
    assert np.array_equal(dataset.pixels("test", range(4)).numpy()[:, 0], IMAGES[8:])
    assert dataset.info.origin.split_column == next(iter(column))


def test_a_column_of_numbered_splits_is_used_by_their_names(tmp_path: Path) -> None:
    features = {"split": {"_type": "ClassLabel", "names": ["test", "train", "val"]}}
    path = table(tmp_path, features, label=[0, 1] * 6, split=[1] * 6 + [0] * 4 + [2] * 2)
    assert opened(tmp_path, path).info.sizes == {"train": 6, "validation": 2, "test": 4}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["train"] * 8 + ["unlabeled"] * 4, "has the value 'unlabeled'"),
        (["train"] * 8 + ["train/test"] * 4, "has the value 'train/test', which names two splits"),
        (["train"] * 11 + [None], "is None in row 11"),
        ([0] * 8 + [1] * 4, "holds int64"),
    ],
)
def test_other_columns_of_that_name_are_refused(tmp_path: Path, values: list[Any], expected: str) -> None:
    message = refusal(tmp_path, table(tmp_path, label=[0, 1] * 6, split=values))
    assert f"column 'split' (data.split_column) {expected}" in message and "Remove or rename the column" in message


def test_a_named_column_of_splits(tmp_path: Path) -> None:
    path = table(tmp_path, label=[0, 1] * 6, subset=SPLIT)
    assert opened(tmp_path, path, split_column="subset").info.sizes["test"] == 4
    assert "no column 'subsets' (data.split_column); did you mean 'subset'?" in refusal(tmp_path, path, split_column="subsets")


def test_splits_that_are_cut_are_told_whatever_names_the_others(tmp_path: Path) -> None:
    """A column without test rows, a file without rows, and a choice of classes that a test file
    lacks."""
    info = opened(tmp_path, table(tmp_path, label=[0, 1] * 6, split=["train"] * 12)).info
    assert info.origin.cut == ("test",)
    assert ("", "files: 1; test cut from the training images, always the same ones") in describe(info)
    table(tmp_path / "in", name="train.parquet", label=[0, 1, 2] * 4)
    write(tmp_path / "in" / "test.parquet", structs(IMAGES[:0]), pa.array([], pa.int64()))
    assert opened(tmp_path, tmp_path / "in").info.origin.cut == ("test",)
    table(tmp_path / "in", name="test.parquet", label=[2] * 12)
    origin = opened(tmp_path, tmp_path / "in", classes=(0, 1)).info.origin
    assert origin.cut == ("test",) and origin.notes == ("images of other classes than data.classes, left out: 16",)
    assert opened(tmp_path, tmp_path / "in").info.origin.cut == ()


def test_a_column_of_splits_without_training_rows_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, label=[0, 1] * 6, split=["test"] * 12)
    assert "no training images: all 12 belong to other splits" in refusal(tmp_path, path)


@pytest.mark.parametrize(
    "column",
    [
        {"subset": SPLIT},
        {"Usage": ["Training"] * 8 + ["PublicTest"] * 2 + ["PrivateTest"] * 2},
        {"fold": pa.array(SPLIT).dictionary_encode()},
        {"part": ["train"] * 7 + [None] + ["test"] * 4},
        {"is_test": [False] * 8 + [True] * 4},
        {"Train": [True] * 8 + [False] * 4},
    ],
)
def test_a_column_of_splits_with_another_name_is_not_ignored(tmp_path: Path, column: dict[str, Any]) -> None:
    (name,) = column
    message = refusal(tmp_path, table(tmp_path, label=[0, 1] * 6, **column))
    assert f"column {name!r} seems to say each row's split (train, test), and is not read" in message
    if name in ("subset", "fold"):
        assert opened(tmp_path, tmp_path / "data.parquet", split_column=name).info.sizes["test"] == 4


def test_a_numbered_column_of_splits_with_another_name_is_not_ignored(tmp_path: Path) -> None:
    path = table(tmp_path, {"part": {"_type": "ClassLabel", "names": ["train", "test"]}}, label=[0, 1] * 6, part=[0, 1] * 6)
    assert "column 'part' seems to say each row's split" in refusal(tmp_path, path)


def test_a_column_of_splits_over_several_files_is_not_ignored(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "test")):
        table(tmp_path / "in", name=f"{number:04}.parquet", label=[0, 1] * 6, subset=[split] * 12)
    assert "column 'subset' seems to say each row's split (train, test)" in refusal(tmp_path, tmp_path / "in")


def test_other_texts_and_flags_are_no_splits(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "vehicle": ["train", "bus", "test car"] * 4,
        "path": [f"train/{row}.png" for row in range(12)],
        "origin": ["training"] * 12,
        "sharp": [True, False] * 6,
        "latest": [True, False] * 6,
    }
    assert opened(tmp_path, table(tmp_path, label=[0, 1] * 6, **columns)).info.origin.split_column == ""


def test_two_columns_of_splits_are_refused(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"Split": SPLIT, "SPLIT": SPLIT[::-1]}
    path = table(tmp_path, label=[0, 1] * 6, **columns)
    assert "columns 'Split' and 'SPLIT' may say each row's split; set data.split_column" in refusal(tmp_path, path)
    assert opened(tmp_path, path, split_column="SPLIT").info.sizes["train"] == 8


def test_files_and_columns_of_splits_must_agree(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    table(tmp_path / "in", name="train.parquet", label=[0, 1] * 6, split=["train"] * 12)
    table(tmp_path / "in", name="test.parquet", label=[0, 1] * 6, split=["test"] * 12)
    assert opened(tmp_path, tmp_path / "in").info.sizes["test"] == 12
    table(tmp_path / "in", name="train.parquet", label=[0, 1] * 6, split=SPLIT)
    assert "train.parquet, row 8: column 'split' says test, but the file's name says train" in refusal(
        tmp_path, tmp_path / "in"
    )
    table(tmp_path / "in", name="test.parquet", label=[0, 1] * 6)
    table(tmp_path / "in", name="train.parquet", label=[0, 1] * 6, split=["train"] * 12)
    assert "test.parquet: no column 'split', which says each row's split in" in refusal(tmp_path, tmp_path / "in")
