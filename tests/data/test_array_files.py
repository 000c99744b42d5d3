"""``hmdc prepare`` of arrays: found by their names in any case, in any usual container; what was taken for what is noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from dataset_files import random_images
from test_sources import opened, write_mnist
from torch.utils.data import TensorDataset

from hmdc_ray.data.arrays import read_npz, read_pt
from hmdc_ray.data.encoded import EncodedImages
from hmdc_ray.data.sources import prepare
from hmdc_ray.errors import InputError

IMAGES = random_images(6, 4, 5, 3)
LABELS = np.array([0, 1, 2, 2, 1, 0])


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def pt(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def labels_of(data: EncodedImages) -> list[int]:
    return [int(label) for label in data.splits["train"].labels]


@pytest.mark.parametrize(
    ("images", "labels"), [("data", "target"), ("X", "Y"), ("image", "label"), ("Inputs", "Targets"), ("X_train", "y_Train")]
)
def test_names_in_any_case(images: str, labels: str, tmp_path: Path) -> None:
    path = npz(tmp_path / "in.npz", **{images: IMAGES, labels: LABELS, "weights": np.zeros(3)})

    assert prepare(str(path), tmp_path / "out").sizes == {"train": 6}
    assert np.array_equal(np.sort(opened(tmp_path, tmp_path / "out").pixels("train", [0]).shape), [1, 3, 4, 5])
    notes = read_npz(path).findings.taken
    assert f"images of {images!r}, labels of {labels!r}; not read: 'weights'" in notes
    assert "images are uint8, N x H x W x C: pixels 0 to 255" in notes


def test_splits_in_any_case(tmp_path: Path) -> None:
    arrays = {"X_train": IMAGES, "Y_train": LABELS, "X_valid": IMAGES[:2], "Y_valid": LABELS[:2]}
    path = npz(tmp_path / "in.npz", **arrays, testing_data=IMAGES[:3], testing_target=LABELS[:3])
    assert prepare(str(path), tmp_path / "out").sizes == {"train": 6, "validation": 2, "test": 3}


@pytest.mark.parametrize("labels", [[3, 5, 5, 3, 3, 5], [1, 1, 1, 1, 1, 1]])
def test_without_names_the_highest_label_counts(labels: list[int], tmp_path: Path) -> None:
    path = npz(tmp_path / "in.npz", images=IMAGES, labels=np.array(labels, np.uint16))

    data = read_npz(path)

    assert data.class_names == tuple(map(str, range(max(labels) + 1))) and labels_of(data) == labels
    classes = "6 classes, from the highest label; classes 0, 1, 2, 4 have no image"
    assert (classes if 3 in labels else "2 classes, from the highest label; class 0 has no image") in data.findings.taken
    prepare(str(path), tmp_path / "out")
    assert pq.read_table(tmp_path / "out")["label"].to_pylist() == labels


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        (LABELS.astype(np.float32), "labels are whole numbers as float32"),
        (np.eye(3, dtype=np.uint8)[LABELS], "one-hot labels of 3 columns"),
        (np.eye(3)[LABELS], "one-hot labels of 3 columns"),
        (LABELS[:, None].astype(np.int8), "3 classes, from the highest label"),
        (LABELS.astype(">u4"), "3 classes, from the highest label"),
    ],
)
def test_labels_of_other_kinds(labels: np.ndarray, note: str, tmp_path: Path) -> None:
    data = read_npz(npz(tmp_path / "in.npz", x=IMAGES, y=labels))
    assert labels_of(data) == LABELS.tolist() and data.class_names == ("0", "1", "2") and note in data.findings.taken


def test_one_hot_labels_keep_classes_without_images(tmp_path: Path) -> None:
    data = read_npz(npz(tmp_path / "in.npz", x=IMAGES, y=np.eye(5)[LABELS + 1]))
    assert data.class_names == tuple("01234") and "classes 0, 4 have no image" in data.findings.taken


TENSORS = torch.from_numpy(IMAGES)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ({"Data": TENSORS, "Target": torch.from_numpy(LABELS)}, "images of 'Data', labels of 'Target'"),
        ([TENSORS.movedim(3, 1), torch.from_numpy(LABELS).short()], "a pair: images, then labels"),
        (TensorDataset(TENSORS, torch.from_numpy(LABELS)), "a TensorDataset: images, then labels"),
    ],
    ids=["dict", "pair", "TensorDataset"],
)
def test_files_of_torch_save(content: Any, note: str, tmp_path: Path) -> None:
    data = read_pt(pt(tmp_path / "in.pt", content))

    assert labels_of(data) == LABELS.tolist() and note in data.findings.taken
    assert note in prepare(str(tmp_path / "in.pt"), tmp_path / "out").notes
    dataset = opened(tmp_path, tmp_path / "out")
    rows = np.concatenate([dataset.pixels(split, range(dataset.info.sizes[split])).numpy() for split in ("train", "test")])
    assert sorted(image.tobytes() for image in rows) == sorted(image.transpose(2, 0, 1).tobytes() for image in IMAGES)


@pytest.mark.parametrize("grey", [False, True])
def test_classes_apart(grey: bool, tmp_path: Path) -> None:
    images = (TENSORS[..., :1] if grey else TENSORS).movedim(3, 1)
    numbered = read_pt(pt(tmp_path / "a.pt", [images[:2], images[2:2], images[2:]]))
    named = read_pt(pt(tmp_path / "b.pt", {"cat": images[:2], "ant": images[2:]}))

    assert numbered.class_names == ("0", "1", "2") and labels_of(numbered) == [0, 0, 2, 2, 2, 2]
    assert named.class_names == ("cat", "ant") and labels_of(named) == [0, 0, 1, 1, 1, 1]
    assert "class 1 has no image" in numbered.findings.taken


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": IMAGES, "images": IMAGES, "y": LABELS},
            "holds 'x', 'images', which may all be the train images",
        ),
        (
            {"x": IMAGES, "y": LABELS, "labels": LABELS},
            "holds 'y', 'labels', which may all be the train labels",
        ),
        ({"x": IMAGES, "y": np.int64(1)}, "y is one int64, must be an array"),
        ({"x": IMAGES, "fine": LABELS}, "the train images have no array labels; it has x, fine"),
        (
            {"x": random_images(6, 3, 5, 3), "y": LABELS},
            r"images have shape \[6, 3, 5, 3\], which may be N x C x H x W or",
        ),
        ({"x": IMAGES, "y": LABELS, "test_x": IMAGES, "test_y": np.eye(4)[LABELS]}, "highest|classes"),
        ({"x": IMAGES, "y": np.eye(2)[LABELS // 2] * 0.5}, "row 0 is not a single 1 among zeros"),
    ],
)
def test_two_readings_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    if "test_y" in arrays:
        arrays["y"] = np.eye(3)[LABELS]
    with pytest.raises(InputError, match=rf"in\.npz.*({message})"):
        prepare(str(npz(tmp_path / "in.npz", **arrays)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["MNIST", "Mnist", "mnist"])
def test_torchvision_names_in_any_case(name: str, tmp_path: Path) -> None:
    images = {split: random_images(20, 28, 28) for split in ("train", "test")}
    write_mnist(tmp_path / "root", images, {split: np.arange(20) % 10 for split in images})
    assert prepare(f"torchvision:{name}", tmp_path / "out", root=tmp_path / "root").sizes == {"train": 20, "test": 20}


def test_misspelt_torchvision_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="torchvision:FashionMNISt2 is not known; did you mean 'fashionmnist'"):
        prepare("torchvision:FashionMNISt2", tmp_path / "out")
