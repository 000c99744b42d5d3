"""``hmdc prepare`` of arrays: found by their names in any case, in any usual container; what was
taken for what is noted."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.io
import torch
from torch.utils.data import TensorDataset
from torchvision import datasets

from data.dataset_files import opened, random_images
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


def test_how_arrays_were_taken_is_told(tmp_path: Path) -> None:
    path = npz(tmp_path / "in.npz", X_train=IMAGES, y_Train=LABELS, weights=np.zeros(3))

    assert prepare(str(path), tmp_path / "out").sizes == {"train": 6}
    assert np.array_equal(np.sort(opened(tmp_path, tmp_path / "out").pixels("train", [0]).shape), [1, 3, 4, 5])
    notes = read_npz(path).findings.taken
    assert "images of 'X_train', labels of 'y_Train'; not read: 'weights'" in notes
    assert "images are uint8, N x H x W x C: pixels 0 to 255" in notes


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
        (np.eye(3)[LABELS], "one-hot labels of 3 columns"),
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


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES, "fine": LABELS}, "the train images have no array labels; it has x, fine"),
        (
            {"x": random_images(6, 3, 5, 3), "y": LABELS},
            r"images have shape \[6, 3, 5, 3\], which may be N x C x H x W or",
        ),
        ({"x": IMAGES, "y": LABELS, "test_x": IMAGES, "test_y": np.eye(4)[LABELS]}, "highest|classes"),
    ],
)
def test_two_readings_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    if "test_y" in arrays:
        arrays["y"] = np.eye(3)[LABELS]
    with pytest.raises(InputError, match=rf"in\.npz.*({message})"):
        prepare(str(npz(tmp_path / "in.npz", **arrays)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["plain", "keras", "medmnist"])
def test_npz(tmp_path: Path, layout: str) -> None:
    images, labels = random_images(6, 4, 5, 3), np.array([0, 1, 2, 2, 1, 0], np.uint8)
    arrays: dict[str, dict[str, Any]] = {
        "plain": {"images": images.transpose(0, 3, 1, 2), "labels": np.array(["a", "b", "c", "c", "b", "a"])},
        "keras": {"x_train": images, "y_train": labels, "x_test": images[:3], "y_test": labels[:3]},
        "medmnist": {
            f"{split}_{kind}": values
            for split in ("train", "val", "test")
            for kind, values in (("images", images), ("labels", labels[:, None]))
        },
    }
    np.savez(tmp_path / "in.npz", **arrays[layout])
    sizes = prepare(str(tmp_path / "in.npz"), tmp_path / "out").sizes
    assert (
        sizes
        == {
            "plain": {"train": 6},
            "keras": {"train": 6, "test": 3},
            "medmnist": {"train": 6, "validation": 6, "test": 6},
        }[layout]
    )
    dataset = opened(tmp_path, tmp_path / "out")
    if layout == "plain":
        assert dataset.info.class_names == ("a", "b", "c")
    else:
        assert np.array_equal(dataset.pixels("train", range(6)).numpy(), images.transpose(0, 3, 1, 2))
        assert dataset.labels("train").tolist() == labels.tolist()


BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "pickles": ({"images": np.array([{}, {}], dtype=object), "labels": np.array([0, 1])}, "plain arrays"),
    "floats": ({"images": np.zeros((2, 4, 4)), "labels": np.array([0, 1])}, "train images are float64"),
    "one image": ({"images": np.zeros((4, 4), np.uint8), "labels": np.array([0, 1])}, r"shape \(4, 4\)"),
    "channels": ({"images": np.zeros((2, 4, 4, 7), np.uint8), "labels": np.array([0, 1])}, r"train image 0: .*\(4, 4, 7\)"),
    "fewer labels": ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array([0])}, "for 2 images"),
    "several labels": ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.zeros((2, 3), int)}, "expected one each"),
    "no images": ({"images": np.zeros((0, 4, 4), np.uint8), "labels": np.zeros(0, int)}, "there are no images"),
    "mixed": (
        {
            **{f"x_{split}": np.zeros((2, 4, 4), np.uint8) for split in ("train", "test")},
            "y_train": np.array(["a", "b"]),
            "y_test": np.arange(2),
        },
        "train labels are strings, but test labels are numbers",
    ),
    "no labels": ({"images": np.zeros((2, 4, 4), np.uint8)}, "no array labels; it has images"),
    "no training": ({"x_test": np.zeros((2, 4, 4), np.uint8), "y_test": np.zeros(2, int)}, "no array images"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_npz(tmp_path: Path, case: str) -> None:
    arrays, expected = BAD_ARRAYS[case]
    np.savez(tmp_path / "in.npz", **arrays)
    with pytest.raises(InputError, match=rf"in\.npz.*{expected}"):
        prepare(str(tmp_path / "in.npz"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in.npz"]


def write_mnist(root: Path, images: dict[str, Any], labels: dict[str, Any]) -> None:
    """MNIST's own files: big-endian headers, then bytes."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, name in (("train", "train"), ("test", "t10k")):
        header = struct.pack(">BBBBIII", 0, 0, 8, 3, *images[split].shape)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(header + images[split].tobytes())
        header = struct.pack(">BBBBI", 0, 0, 8, 1, len(labels[split]))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(header + labels[split].astype(np.uint8).tobytes())


@pytest.mark.parametrize("name", ["MNIST", "Mnist", "mnist"])
def test_torchvision_mnist(name: str, tmp_path: Path) -> None:
    images = {"train": random_images(20, 28, 28), "test": random_images(10, 28, 28, seed=1)}
    labels = {"train": np.arange(20) % 10, "test": np.arange(10)[::-1]}
    write_mnist(tmp_path / "root", images, labels)
    assert prepare(f"torchvision:{name}", tmp_path / "out", root=tmp_path / "root").sizes == {"train": 20, "test": 10}
    dataset = opened(tmp_path, tmp_path / "out")
    assert dataset.info.class_names == tuple("0123456789")
    assert np.array_equal(dataset.pixels("test", range(10)).numpy()[:, 0], images["test"])
    assert dataset.labels("test").tolist() == labels["test"].tolist()


def test_torchvision_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "root" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

    def write(name: str, content: dict[str, Any]) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    images = random_images(60, 3, 32, 32)
    parts = [{"data": images[start : start + 10].reshape(10, -1), "labels": list(range(10))} for start in range(0, 60, 10)]
    # torchvision opens these pickles only if their sums are those of the published files: here, of
    # ours.
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [write(f"data_batch_{n + 1}", parts[n]) for n in range(5)])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [write("test_batch", parts[5])])
    meta = write("batches.meta", {"label_names": names})
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    assert prepare("torchvision:cifar10", tmp_path / "out", root=tmp_path / "root").sizes == {"train": 50, "test": 10}
    dataset = opened(tmp_path, tmp_path / "out")
    assert dataset.info.class_names == tuple(names)
    assert np.array_equal(dataset.pixels("train", range(50)).numpy(), images[:50])


def test_torchvision_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels, table = random_images(20, 3, 32, 32), np.arange(1, 21) % 10, {}
    for split in ("train", "test"):
        name = f"{split}_32x32.mat"
        (tmp_path / "root").mkdir(exist_ok=True)
        stored = np.where(labels == 0, 10, labels)[:, None]  # SVHN labels the digit 0 as 10
        scipy.io.savemat(tmp_path / "root" / name, {"X": images.transpose(2, 3, 1, 0), "y": stored})
        table[split] = ["", name, hashlib.md5((tmp_path / "root" / name).read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", table)
    prepare("torchvision:svhn", tmp_path / "out", root=tmp_path / "root")
    dataset = opened(tmp_path, tmp_path / "out")
    assert np.array_equal(dataset.pixels("test", range(20)).numpy(), images)
    assert dataset.labels("test").tolist() == labels.tolist()


def test_torchvision_downloads_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def no_network(self: Any) -> None:
        asked.append(type(self).__name__)
        raise URLError("no network")

    monkeypatch.setattr(datasets.MNIST, "download", no_network)
    with pytest.raises(InputError, match=r"torchvision:mnist is not in .*cannot be downloaded .*no network"):
        prepare("torchvision:mnist", tmp_path / "out", root=tmp_path / "nothing")
    assert asked == ["MNIST"]
    write_mnist(
        tmp_path / "root",
        {split: random_images(20, 28, 28) for split in ("train", "test")},
        {split: np.arange(20) % 10 for split in ("train", "test")},
    )
    prepare("torchvision:mnist", tmp_path / "out", root=tmp_path / "root")
    assert asked == ["MNIST"]


def test_other_archives_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in.npz").write_bytes(gzip.compress(b"hello"))
    with pytest.raises(InputError, match=r"cannot be read as an \.npz file"):
        prepare(str(tmp_path / "in.npz"), tmp_path / "out")
