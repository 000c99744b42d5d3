from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset_files import opened, structs, write
from hmdc_ray.data.dataset import ImageDataset
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


def everything(dataset: ImageDataset) -> dict[str, Any]:
    return {split: (dataset.pixels(split, range(dataset.info.sizes[split])).numpy(), dataset.labels(split)) for split in SPLITS}


def test_single_file_is_split_fixed_and_stratified(tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2], [50, 20, 10])
    images = np.arange(80, dtype=np.uint8)[:, None, None].repeat(3, 1).repeat(3, 2)
    source = write(tmp_path / "data.parquet", structs(images), labels)
    first = opened(tmp_path, source, test_fraction=0.2, validation_fraction=0.25)
    assert [len(first.class_rows("test", label)) for label in range(3)] == [10, 4, 2]
    assert [len(first.class_rows("validation", label)) for label in range(3)] == [10, 4, 2]
    rows = [first.pixels(split, range(first.info.sizes[split]))[:, 0, 0, 0].tolist() for split in SPLITS]
    assert sorted(value for part in rows for value in part) == list(range(80))
    again = opened(tmp_path, shutil.copy(source, tmp_path / "again.parquet"), test_fraction=0.2, validation_fraction=0.25)
    for split in SPLITS:
        assert np.array_equal(everything(first)[split][0], everything(again)[split][0])
