"""Usual containers of images and labels are read as they are meant, and say so; where two readings are possible: refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import TensorDataset

from hmdc_ray.errors import InputError
from hmdc_ray.interchange.assemble import Imported
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import import_set
from interchange.sets import GREY, STATED, grey_images, saved

LABELS = torch.tensor([0, 2, 1, 0])


COLOUR = ImportOptions(statistics=((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))


def read(content: Any, tmp_path: Path, stated: ImportOptions = STATED) -> Imported:
    return import_set(saved(tmp_path / "t.pt", content), "tensors", stated)


def refused(content: Any, message: str, tmp_path: Path, stated: ImportOptions = STATED) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(content, tmp_path, stated)
    assert "t.pt" in str(caught.value) and "\n" not in str(caught.value)


def as_npz(path: Path, content: dict[str, Tensor]) -> None:
    with path.open("wb") as file:
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in content.items()}
        np.savez(file, **arrays)


WRITERS: dict[str, Callable[[Path, dict[str, Tensor]], None]] = {
    "tensors": lambda path, content: torch.save(content, path),
    "npz": as_npz,
    "safetensors": lambda path, content: save_file(content, path),
}


# Names


@pytest.mark.parametrize("file_format", WRITERS)
@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("data", "target"),
        ("data", "label"),
        ("data", "labels"),
        ("image", "label"),
        ("Images", "Labels"),
        ("x", "y"),
        ("X", "Y"),
        ("x_train", "y_train"),
        ("X_Train", "Y_Train"),
        ("train_images", "train_labels"),
        ("inputs", "targets"),
        ("IMAGE", "target"),
    ],
)
def test_names_in_any_case(images: str, labels: str, file_format: str, tmp_path: Path) -> None:
    WRITERS[file_format](tmp_path / "file", {images: grey_images(), labels: LABELS})

    imported = import_set(tmp_path / "file", file_format, STATED)

    assert torch.equal(imported.condensed.images, grey_images()) and torch.equal(imported.condensed.labels, LABELS)
    assert f"images of {images!r}, labels of {labels!r}" in imported.assumed.splitlines()


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    imported = read({"data": grey_images(), "target": LABELS, "lr": np.float32(0.1), "steps": torch.arange(3)}, tmp_path)
    assert "images of 'data', labels of 'target'; not read: 'lr', 'steps'" in imported.assumed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": grey_images(), "x": grey_images(), "y": LABELS}, "holds 'data', 'x', which may all be the train images"),
        ({"images": grey_images(), "target": LABELS, "Y": LABELS}, "holds 'target', 'Y', which may all be the train labels"),
        ({"x": grey_images(), "o": grey_images()}, "holds 'x', 'o', which may be images, or images of a class each"),
        (
            {"x_train": grey_images(), "y_train": LABELS, "x_test": grey_images(), "y_test": LABELS},
            "holds train and test images: give a file with one set",
        ),
        ({"x_test": grey_images(), "y_test": LABELS}, "holds test images: give a file with one set"),
        ({"images": grey_images(), "test_labels": LABELS}, "has 'test_labels', but no images for them"),
        ({"data": grey_images(), "fine_labels": LABELS}, "there are no labels in the file: give --labels"),
        ({"train": grey_images(), "test": grey_images()}, "holds neither a tensor of images.*it has 'train', 'test'"),
        ({"data": [[grey_images(), LABELS]]}, "holds neither a tensor of images.*it has 'data'"),
        ({"x": grey_images(), "y": "a"}, "y is str, must be a tensor"),
        ({"x": grey_images()[:, 0], "y": torch.tensor(1)}, r"t\.pt: y is one torch\.int64, must be an array"),
        ([grey_images()], "holds neither a tensor of images"),
        ([grey_images(), LABELS, LABELS], "holds neither a tensor of images"),
        ([LABELS, grey_images()], r"images have shape \[4\]"),
        ({}, "holds neither a tensor of images"),
        ("images", "holds neither a tensor of images"),
    ],
)
def test_two_readings_and_none_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    refused(content, message, tmp_path)


# Classes apart


def apart() -> list[Tensor]:
    """Three classes of 2, 0 and 1 images."""
    return [grey_images(3)[:2], grey_images(3)[:0], grey_images(3)[2:]]


def test_a_list_of_a_tensor_for_each_class(tmp_path: Path) -> None:
    for content in (apart(), tuple(apart())):
        imported = read(content, tmp_path)
        assert torch.equal(imported.condensed.images, grey_images(3)) and imported.condensed.labels.tolist() == [0, 0, 2]
        assert imported.condensed.class_names == ("0", "1", "2")
        assert "images of 3 classes apart, the label of each is its place in the list" in imported.assumed
        assert "class 1 has no image" in imported.assumed
    two = read([grey_images(), grey_images() + 1], tmp_path).condensed
    assert two.labels.tolist() == [0] * 4 + [1] * 4, "two tensors of images are two classes, no pair"


@pytest.mark.parametrize("keys", [(7, 1), ("7", "1"), (np.int64(7), np.int64(1))], ids=["int", "digits", "numpy"])
def test_a_dict_by_class_number(keys: tuple[Any, ...], tmp_path: Path) -> None:
    imported = read(dict(zip(keys, (grey_images(3)[:2], grey_images(3)[2:]), strict=True)), tmp_path)
    assert imported.condensed.labels.tolist() == [7, 7, 1] and len(imported.condensed.class_names) == 8
    assert "the label of each is its class number" in imported.assumed
    assert "8 classes, from the highest label; classes 0, 2, 3, 4, 5, 6 have no image; give --class-names" in imported.assumed


@pytest.mark.parametrize("file_format", WRITERS)
def test_a_dict_by_class_name(file_format: str, tmp_path: Path) -> None:
    WRITERS[file_format](tmp_path / "file", {"ant": grey_images(3)[:2], "sea lion": grey_images(3)[2:]})

    imported = import_set(tmp_path / "file", file_format, STATED)
    assert imported.condensed.class_names == ("ant", "sea lion") and imported.condensed.labels.tolist() == [0, 0, 1]
    assert torch.equal(imported.condensed.images, grey_images(3))
    assert "the label of each is its class name, in the order of the file" in imported.assumed

    stated = ImportOptions(statistics=GREY, class_names=("sea lion", "bee", "ant"))
    renamed = import_set(tmp_path / "file", file_format, stated)
    assert renamed.condensed.class_names == stated.class_names and renamed.condensed.labels.tolist() == [2, 2, 0]
    assert "class bee has no image" in renamed.assumed
    with pytest.raises(InputError, match=r"--class-names are ant, bee, but the file says ant, sea lion: .* such as 'sea lion'"):
        import_set(tmp_path / "file", file_format, ImportOptions(statistics=GREY, class_names=("ant", "bee")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [grey_images(), grey_images()[..., :3]],
            r"classes differ: .*\[4, 1, 4, 4\], .* class 1 .*\[4, 1, 4, 3\]",
        ),
        ({"a": grey_images(), "b": grey_images().double()}, "images of the classes differ: torch.float32 .* class 1 .*float64"),
        ([grey_images()[:0], grey_images()[:0]], "holds 2 classes without images"),
        ({-1: grey_images(), 2: grey_images()}, "holds neither a tensor of images"),
        ({10**400: grey_images(), 2: grey_images()}, "holds neither a tensor of images"),
        ({"a": grey_images(), "b": LABELS}, "holds neither a tensor of images.*it has 'a', 'b'"),
        ({"weights": grey_images()}, "holds neither a tensor of images.*it has 'weights'"),
    ],
)
def test_classes_that_do_not_fit(content: Any, message: str, tmp_path: Path) -> None:
    refused(content, message, tmp_path)


def test_classes_that_repeat_one_small_tensor_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    endless = torch.zeros(1, 1, 1, 1).expand(1 << 20, 1, 4, 4)  # 64 MiB each: allowed for one, not for all
    refused([endless] * 100, "unpacks to 6,710,886,400 bytes", tmp_path)


# Data sets of torch


def test_a_tensor_dataset(tmp_path: Path) -> None:
    imported = read(TensorDataset(grey_images(), LABELS), tmp_path)
    assert torch.equal(imported.condensed.images, grey_images()) and torch.equal(imported.condensed.labels, LABELS)
    assert "a TensorDataset: images, then labels" in imported.assumed
    refused(TensorDataset(grey_images()), "holds a TensorDataset that is not one of images and labels", tmp_path)
    emptied = TensorDataset(grey_images())
    vars(emptied).clear()
    refused(emptied, "holds a TensorDataset that is not", tmp_path)


# Labels


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint64])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_labels_of_any_integers(dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
    labels = read([grey_images(), LABELS.to(dtype).view(shape)], tmp_path).condensed.labels
    assert torch.equal(labels, LABELS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_labels_that_are_whole_numbers(dtype: torch.dtype, tmp_path: Path) -> None:
    imported = read([grey_images(), LABELS.to(dtype)], tmp_path)
    assert torch.equal(imported.condensed.labels, LABELS)
    assert f"labels are whole numbers as {dtype}" in imported.assumed


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.bfloat16])
def test_one_hot_labels_say_how_many_classes_there_are(dtype: torch.dtype, tmp_path: Path) -> None:
    content = [grey_images(), torch.eye(10)[LABELS + 3].to(dtype)]

    imported = read(content, tmp_path)
    assert imported.condensed.labels.tolist() == [3, 5, 4, 3] and len(imported.condensed.class_names) == 10
    assert "one-hot labels of 10 columns" in imported.assumed
    assert "classes 0, 1, 2, 6, 7, 8, 9 have no image" in imported.assumed and "highest" not in imported.assumed
    refused(
        content,
        "--class-names are a, b: 2 names, but the file has 10 classes",
        tmp_path,
        ImportOptions(GREY, class_names=("a", "b")),
    )


def test_labels_of_their_own_file_are_read_in_the_same_way(tmp_path: Path) -> None:
    np.save(tmp_path / "l.npy", np.eye(3)[LABELS])
    imported = read(grey_images(), tmp_path, ImportOptions(statistics=GREY, labels=tmp_path / "l.npy"))
    assert torch.equal(imported.condensed.labels, LABELS) and "one-hot labels of 3 columns" in imported.assumed


@pytest.mark.parametrize(
    ("labels", "row"),
    [
        (torch.tensor([[0.9, 0.1], [1, 0], [0, 1], [1, 0]]), "row 0 is not a single 1"),
        (torch.tensor([[1, 0], [0, 0], [0, 1], [1, 0]]), "row 1 is not a single 1"),
        (torch.tensor([[1, 0], [0, 1], [1, 1], [1, 0]]), "row 2 is not a single 1"),
        (torch.tensor([[1, 0], [0, 1], [0, 1], [-1, 1]]), "row 3 is not a single 1"),
        (torch.tensor([0, 1, 1.5, 0]), r"row 2 is 1\.5"),
        (torch.tensor([0, 1, float("inf"), 0]), "row 2 is inf"),
    ],
)
def test_soft_labels_are_refused_with_the_row(labels: Tensor, row: str, tmp_path: Path) -> None:
    refused([grey_images(), labels], rf"must be integers, one an image \(not soft labels\): {row}", tmp_path)


def test_labels_beyond_any_class_number(tmp_path: Path) -> None:
    for value in (2**64 - 1, 2**63, 10**6):
        labels = torch.from_numpy(np.array([0, 1, value, 0], np.uint64))
        refused([grey_images(), labels], f"label of row 2 is {value}, must be 0 to 999999", tmp_path)


# Images of 8 bits


def bytes_of(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("shape", "order", "layout"),
    [
        ((4, 1, 6, 5), (0, 1, 2, 3), "N x C x H x W"),
        ((4, 3, 6, 5), (0, 1, 2, 3), "N x C x H x W"),
        ((4, 6, 5, 1), (0, 3, 1, 2), "N x H x W x C"),
        ((4, 6, 5, 3), (0, 3, 1, 2), "N x H x W x C"),
        ((4, 6, 5), (0, 1, 2), "N x H x W"),
    ],
)
@pytest.mark.parametrize("file_format", WRITERS)
def test_images_of_8_bits_are_pixels(
    shape: tuple[int, ...], order: tuple[int, ...], layout: str, file_format: str, tmp_path: Path
) -> None:
    stored = bytes_of(*shape)
    WRITERS[file_format](tmp_path / "file", {"x": stored, "y": LABELS})

    imported = import_set(tmp_path / "file", file_format, COLOUR if 3 in shape else STATED)

    expected = stored.permute(order).reshape(4, -1, 6, 5) / 255
    torch.testing.assert_close(imported.condensed.pixels(), expected)
    assert f"images are uint8, {layout}: pixels 0 to 255, divided by 255" in imported.assumed
    assert "pixels, to be normalised with" in imported.assumed


@pytest.mark.parametrize(
    ("shape", "stated", "message"),
    [
        ((4, 3, 6, 3), COLOUR, r"shape \[4, 3, 6, 3\], which may be N x C x H x W or N x H x W x C"),
        ((4, 1, 28, 1), STATED, r"shape \[4, 1, 28, 1\], which may be N x C x H x W or N x H x W x C"),
        ((4, 6, 5, 4), COLOUR, r"uint8 of shape \[4, 6, 5, 4\], must be"),
        ((4, 108), COLOUR, r"uint8 of shape \[4, 108\], must be"),
        (
            (4, 3, 6, 5),
            ImportOptions(COLOUR.statistics, scale="normalised"),
            "--scale is 'normalised', but the file .* says 'pixel'",
        ),
    ],
)
def test_unclear_shapes_are_refused(shape: tuple[int, ...], stated: ImportOptions, message: str, tmp_path: Path) -> None:
    refused({"data": bytes_of(*shape), "target": LABELS}, message, tmp_path, stated)


def test_grey_images_without_a_channel(tmp_path: Path) -> None:
    imported = read({"x": grey_images().squeeze(1), "y": LABELS}, tmp_path)
    assert torch.equal(imported.condensed.images, grey_images()) and "images are N x H x W, grey" in imported.assumed
    refused([grey_images()[0], LABELS], r"images have shape \[1, 4, 4\], must be N x C x H x W", tmp_path)
