from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmdc_ray.data.files import find_files, split_of
from hmdc_ray.data.schema import SPLITS
from hmdc_ray.data.splits import assign_splits

TRAIN, VALIDATION, TEST = range(3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0.01, 0.99), st.floats(0, 0.99))
def test_every_class_keeps_a_training_image(classes: list[int], test: float, validation: float) -> None:
    labels = np.array(classes)
    splits = assign_splits(labels, np.zeros(len(labels), np.uint8), test, validation)
    for label in np.unique(labels):
        counts = np.bincount(splits[labels == label], minlength=3)
        assert counts[TRAIN] >= 1
        assert counts[TEST] >= 1 or counts.sum() == 1
    assert np.array_equal(splits, assign_splits(labels, np.zeros(len(labels), np.uint8), test, validation))


def test_given_splits_are_kept() -> None:
    labels = np.zeros(100, np.int64)
    given_splits = np.repeat(np.array([TRAIN, TEST], np.uint8), 50)
    splits = assign_splits(labels, given_splits, 0.5, 0.1)
    assert (splits[50:] == TEST).all()
    assert np.bincount(splits[:50]).tolist() == [45, 5]
    whole = np.array([TRAIN, VALIDATION, TEST], np.uint8).repeat([50, 30, 20])
    assert np.array_equal(assign_splits(labels, whole, 0.5, 0.5), whole)


def test_validation_fraction_zero_keeps_all_training_images() -> None:
    splits = assign_splits(np.zeros(10, np.int64), np.zeros(10, np.uint8), 0.2, 0.0)
    assert np.bincount(splits, minlength=3).tolist() == [8, 0, 2]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("train.parquet", "train"),
        ("TEST_0.parquet", "test"),
        ("valid-0.parquet", "validation"),
        ("val", "validation"),
        ("validation-00000-of-00001.parquet", "validation"),
        ("training.parquet", None),
        ("testament.parquet", None),
        ("0000.parquet", None),
    ],
)
def test_split_of_a_name(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_files_of_a_folder(tmp_path: Path) -> None:
    names = ["test/0.parquet", "train/1.parquet", "train/0.parquet", "val/x.parquet", ".hidden.parquet", "train/.0.parquet"]
    for name in [*names, "other/9.parquet", "train/readme.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [(str(file.path.relative_to(tmp_path)), file.split) for file in find_files(str(tmp_path))]
    assert found == [
        ("train/0.parquet", "train"),
        ("train/1.parquet", "train"),
        ("val/x.parquet", "validation"),
        ("test/0.parquet", "test"),
    ]
    assert [split for _, split in found] == sorted((split for _, split in found), key=SPLITS.index)


def test_nameless_files_all_train(tmp_path: Path) -> None:
    for name in ("b.parquet", "a.parquet"):
        (tmp_path / name).touch()
    assert [(file.path.name, file.split) for file in find_files(str(tmp_path))] == [
        ("a.parquet", "train"),
        ("b.parquet", "train"),
    ]
