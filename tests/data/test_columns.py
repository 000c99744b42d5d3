"""Labels come from a column that is called so; splits from a column are used or refused; classes can be chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_files import random_images, structs, write

from hmdc_ray.config import DataConfig
from hmdc_ray.config.statistics import KNOWN
from hmdc_ray.data.dataset import ImageDataset, open_dataset
from hmdc_ray.data.description import describe
from hmdc_ray.data.labels import select_classes
from hmdc_ray.errors import InputError

IMAGES = random_images(12, 4, 4)


def table(tmp_path: Path, features: dict[str, Any] | None = None, name: str = "data.parquet", **columns: Any) -> Path:
    tmp_path.mkdir(exist_ok=True)
    written = pa.table({"image": structs(IMAGES), **columns})
    if features is not None:
        written = written.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(written, tmp_path / name)
    return tmp_path / name


def opened(tmp_path: Path, source: Path, **fields: Any) -> ImageDataset:
    return open_dataset(DataConfig(source=str(source), cache=str(tmp_path / "cache"), validation_fraction=0, **fields))


def refusal(tmp_path: Path, source: Path, **fields: Any) -> str:
    with pytest.raises(InputError) as caught:
        opened(tmp_path, source, **fields)
    return str(caught.value)


BREEDS = ["pug", "collie", "boxer"] * 4


def test_row_numbers_are_no_labels(tmp_path: Path) -> None:
    path = table(tmp_path, breed=BREEDS, __index_level_0__=range(12))
    message = refusal(tmp_path, path)
    assert "no label column found" in message and "it has image, breed, __index_level_0__" in message
    assert "set data.label_column" in message
    assert opened(tmp_path, path, label_column="breed").info.class_names == ("boxer", "collie", "pug")


@pytest.mark.parametrize("numbers", ["visit", "patient", "age", "id"])
def test_other_integers_are_no_labels(tmp_path: Path, numbers: str) -> None:
    columns: dict[str, Any] = {numbers: [1, 2, 3] * 4, "diagnosis": ["ill", "well"] * 6}
    path = table(tmp_path, **columns)
    assert f"it has image, {numbers}, diagnosis" in refusal(tmp_path, path)


@pytest.mark.parametrize("name", ["label", "Label", "LABELS", "fine_label", "class", "Target", "y", "category"])
def test_usual_names_in_any_case(tmp_path: Path, name: str) -> None:
    columns: dict[str, Any] = {"visit": range(12), name: BREEDS}
    dataset = opened(tmp_path, table(tmp_path, **columns))
    assert dataset.info.class_names == ("boxer", "collie", "pug") and dataset.info.origin.label_column == name


def test_the_one_class_label_of_the_metadata_is_used(tmp_path: Path) -> None:
    features = {"image": {"_type": "Image"}, "visit": {"_type": "Value"}, "breed": {"_type": "ClassLabel", "names": ["a", "b"]}}
    path = table(tmp_path, features, visit=range(12), breed=[0, 1] * 6)
    info = opened(tmp_path, path).info
    assert info.class_names == ("a", "b") and info.origin.label_column == "breed"
    features["visit"] = {"_type": "ClassLabel", "names": [str(number) for number in range(12)]}
    assert "no label column found" in refusal(tmp_path, table(tmp_path, features, visit=range(12), breed=[0, 1] * 6))


def test_a_second_label_column_is_told(tmp_path: Path) -> None:
    path = table(tmp_path, coarse_label=[0, 1] * 6, fine_label=[0, 1, 2] * 4)
    origin = opened(tmp_path, path).info.origin
    assert origin.label_column == "fine_label"
    assert origin.notes == ("labels are from column 'fine_label', not from 'coarse_label'",)


def test_a_class_label_beside_a_usual_name_is_told(tmp_path: Path) -> None:
    path = table(tmp_path, {"breed": {"_type": "ClassLabel", "names": ["a", "b"]}}, target=[0, 1, 2] * 4, breed=[0, 1] * 6)
    assert opened(tmp_path, path).info.origin.notes == ("labels are from column 'target', not from 'breed'",)


# A column of splits

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
    """A column without test rows, a file without rows, and a choice of classes that a test file lacks."""
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


def test_the_built_in_digits_by_class(tmp_path: Path) -> None:
    dataset = open_dataset(DataConfig(classes=(8, 1), cache=str(tmp_path)))
    assert dataset.info.class_names == ("8", "1") and set(dataset.labels("train").tolist()) == {0, 1}


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


# Statistics


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("imagenet", KNOWN["imagenet"]),
        ("0.5,0.4,0.3:0.2,0.25,1", ((0.5, 0.4, 0.3), (0.2, 0.25, 1.0))),
        ({"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 1]}, ((0.5, 0.4, 0.3), (0.2, 0.25, 1.0))),
    ],
)
def test_statistics_by_name_or_numbers(tmp_path: Path, value: Any, expected: Any) -> None:
    path = write(tmp_path / "data.parquet", structs(random_images(4, 3, 3, 3)), [0, 1, 0, 1])
    dataset = opened(tmp_path, path, statistics=value)
    assert (dataset.info.mean, dataset.info.std) == expected
    pixels = dataset.pixels("train", [0]).double().numpy() / 255
    by_hand = (pixels - np.array(expected[0])[:, None, None]) / np.array(expected[1])[:, None, None]
    assert np.abs(dataset.normalised("train", [0]).numpy() - by_hand).max() < 1e-5


def test_statistics_of_another_number_of_channels_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", structs(IMAGES), [0, 1] * 6)
    assert "for images of 3 channels, but those of" in refusal(tmp_path, path, statistics="imagenet")
