"""Labels come from a column that is called so; splits from a column are used or refused; classes
can be chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.dataset_files import opened, random_images, refusal, structs, table, write_folder
from hmdc_ray.data.schema import SPLITS

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


@pytest.mark.parametrize(
    ("columns", "labels", "names"),
    [
        ({"image": "img", "label": "fine_label"}, [0, 1, 0, 1], ("0", "1")),
        ({"image": "photo", "label": "Class"}, [0, 1, 0, 1], ("0", "1")),
        ({"image": "IMAGE", "label": "LABELS"}, [1, 0, 1, 0], ("0", "1")),
        ({"label": "y"}, ["cat", "ant", "cat", "ant"], ("ant", "cat")),
        ({}, pa.array(["b", "a", "b", "a"]).dictionary_encode(), ("a", "b")),
        ({}, pa.array([0, 0, 0, 0], pa.uint8()), ("0",)),
    ],
)
def test_columns_are_found_and_strings_become_sorted_classes(
    tmp_path: Path, columns: dict[str, str], labels: Any, names: tuple[str, ...]
) -> None:
    dataset = opened(tmp_path, write_folder(tmp_path / "data", structs(random_images(4, 3, 3)), labels, **columns))
    texts = labels.to_pylist() if isinstance(labels, pa.Array) else labels
    assert dataset.info.class_names == names
    assert [dataset.info.class_names[label] for label in dataset.labels("test")] == [str(text) for text in texts]


def test_named_columns_and_metadata_names_are_used(tmp_path: Path) -> None:
    images = random_images(4, 3, 3)
    table = pa.table(
        {"image": structs(images[::-1]), "other": structs(images), "label": [0] * 4, "group": ["u", "v", "u", "v"]}
    )
    for split in SPLITS:
        pq.write_table(table, tmp_path / f"{split}.parquet")
    dataset = opened(tmp_path, tmp_path, image_column="other", label_column="group")
    assert np.array_equal(dataset.pixels("train", range(4)).numpy()[:, 0], images)
    assert dataset.labels("train").tolist() == [0, 1, 0, 1]

    named = write_folder(tmp_path / "named", structs(images), [1, 0, 1, 0], names=["zebra", "ape"])
    assert opened(tmp_path, named).info.class_names == ("zebra", "ape")
