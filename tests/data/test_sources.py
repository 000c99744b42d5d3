from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
from dataset_files import random_images
from image_folders import write_classes
from torchvision import datasets

from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import ImageDataset, open_dataset
from hmdc_ray.data.sources import prepare
from hmdc_ray.errors import InputError


def opened(tmp_path: Path, source: Path) -> ImageDataset:
    return open_dataset(DataConfig(source=str(source), cache=str(tmp_path / "cache"), validation_fraction=0))


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
    "float labels": (
        {"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array([0, 0.5])},
        "row 1 is 0.5",
    ),
    "negative": ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array([0, -2])}, "label of row 1 is -2"),
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


def test_bad_sources(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken" / "cat").mkdir(parents=True)
    (tmp_path / "broken" / "cat" / "a.png").write_text("hello")
    (tmp_path / "vacant" / "cat").mkdir(parents=True)
    for source, expected in {
        "nowhere": "does not exist",
        "text.npz": "cannot be read as an .npz file",
        "empty": "no class folders",
        "broken": "a.png: image cannot be decoded",
        "vacant": "class 'cat' has no training images",
    }.items():
        with pytest.raises(InputError, match=expected):
            prepare(str(tmp_path / source), tmp_path / "out")
    (tmp_path / "my sets").mkdir()
    (tmp_path / "my sets" / "train.parquet").touch()
    for name in ("my sets", "my sets/train.parquet"):
        with pytest.raises(InputError, match=f"runs read them as they are, with --data '{tmp_path}/{name}'"):
            prepare(f"{tmp_path}/{name}", tmp_path / "out")
    with pytest.raises(InputError, match="did you mean 'cifar10'"):
        prepare("torchvision:cifar01", tmp_path / "out")


def test_out_is_not_written_over(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in")
    prepare(str(source), tmp_path / "out")
    (tmp_path / "out" / "old.parquet").touch()
    with pytest.raises(InputError, match="exists already"):
        prepare(str(source), tmp_path / "out")
    prepare(str(source), tmp_path / "out", overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train-00000-of-00001.parquet"]
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(InputError, match="nothing but Parquet files"):
        prepare(str(source), tmp_path / "out", overwrite=True)
    (source / "cat" / "broken.png").write_text("x")
    with pytest.raises(InputError, match=r"broken\.png"):
        prepare(str(source), tmp_path / "second")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    with pytest.raises(InputError, match="cannot write"):
        prepare(str(write_classes(tmp_path / "again")), source / "cat" / "0.PNG" / "out")


def write_mnist(root: Path, images: dict[str, Any], labels: dict[str, Any]) -> None:
    """MNIST's own files: big-endian headers, then bytes."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, name in (("train", "train"), ("test", "t10k")):
        header = struct.pack(">BBBBIII", 0, 0, 8, 3, *images[split].shape)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(header + images[split].tobytes())
        header = struct.pack(">BBBBI", 0, 0, 8, 1, len(labels[split]))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(header + labels[split].astype(np.uint8).tobytes())


def test_torchvision_mnist(tmp_path: Path) -> None:
    images = {"train": random_images(20, 28, 28), "test": random_images(10, 28, 28, seed=1)}
    labels = {"train": np.arange(20) % 10, "test": np.arange(10)[::-1]}
    write_mnist(tmp_path / "root", images, labels)
    assert prepare("torchvision:mnist", tmp_path / "out", root=tmp_path / "root").sizes == {"train": 20, "test": 10}
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
    # torchvision opens these pickles only if their sums are those of the published files: here, of ours.
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
