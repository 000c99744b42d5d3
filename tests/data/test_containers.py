"""Usual containers of images and labels are read as they are meant, and say so; where two readings
are possible: refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from hmdc_ray.data.containers import Array, Parts, layout_of, read_parts
from hmdc_ray.errors import InputError

IMAGES = torch.linspace(-3, 3, 64).reshape(4, 1, 4, 4)
LABELS = torch.tensor([0, 2, 1, 0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of 1 KB, by whose size content is judged."""
    (tmp_path / "t.pt").write_bytes(bytes(1000))
    return tmp_path / "t.pt"


def read(content: Any, path: Path) -> Parts:
    splits = read_parts(content, path)
    assert set(splits) == {"train"}
    return splits["train"]


def same(found: Array | None, expected: Tensor) -> bool:
    return found is not None and np.array_equal(np.asarray(found), np.asarray(expected))


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
        ("X_Train", "y_Train"),
        ("train_images", "train_labels"),
        ("Inputs", "Targets"),
        ("IMAGE", "target"),
    ],
)
def test_names_in_any_case(images: str, labels: str, path: Path) -> None:
    parts = read({images: IMAGES, labels: LABELS, "lr": 0.1, "steps": torch.arange(3)}, path)
    assert same(parts.images, IMAGES) and same(parts.labels, LABELS)
    assert parts.note == f"images of {images!r}, labels of {labels!r}; not read: 'lr', 'steps'"


def test_splits_in_any_case(path: Path) -> None:
    content = {"X_train": IMAGES, "Y_train": LABELS, "X_valid": IMAGES[:2], "testing_data": IMAGES[:3]}
    splits = read_parts({**content, "Y_valid": LABELS[:2], "testing_target": LABELS[:3]}, path)
    assert {split: len(parts.images) for split, parts in splits.items()} == {"train": 4, "validation": 2, "test": 3}
    assert all(same(parts.labels, LABELS[: len(parts.images)]) for parts in splits.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": IMAGES, "x": IMAGES, "y": LABELS}, "holds 'data', 'x', which may all be the train images"),
        ({"images": IMAGES, "target": LABELS, "Y": LABELS}, "holds 'target', 'Y', which may all be the train labels"),
        ({"x": IMAGES, "o": IMAGES}, "holds 'x', 'o', which may be images, or images of a class each"),
        ({"images": IMAGES, "test_labels": LABELS}, "has 'test_labels', but no images for them"),
        ({"train": IMAGES, "test": IMAGES}, "holds neither a tensor of images.*it has 'train', 'test'"),
        ({"data": [[IMAGES, LABELS]]}, "holds neither a tensor of images.*it has 'data'"),
        ({"x": IMAGES, "y": "a"}, "y is str, must be a tensor"),
        ({"x": IMAGES[:, 0], "y": torch.tensor(1)}, "y is one torch.int64, must be an array"),
        ([IMAGES], "holds neither a tensor of images"),
        ([IMAGES, LABELS, LABELS], "holds neither a tensor of images"),
        ({}, "holds neither a tensor of images"),
        ("images", "holds neither a tensor of images"),
        ([IMAGES, IMAGES[..., :3]], r"classes differ: .*\[4, 1, 4, 4\], .* class 1 .*\[4, 1, 4, 3\]"),
        ({"a": IMAGES, "b": IMAGES.double()}, "images of the classes differ: torch.float32 .* class 1 .*float64"),
        ([IMAGES[:0], IMAGES[:0]], "holds 2 classes without images"),
        ({-1: IMAGES, 2: IMAGES}, "holds neither a tensor of images"),
        ({10**400: IMAGES, 2: IMAGES}, "holds neither a tensor of images"),
        ({"a": IMAGES, "b": LABELS}, "holds neither a tensor of images.*it has 'a', 'b'"),
        ({"weights": IMAGES}, "holds neither a tensor of images.*it has 'weights'"),
        ([torch.zeros(1).expand(1 << 20, 1, 4, 4)] * 100, "unpacks to 6,710,886,400 bytes"),  # each alone were allowed
        (TensorDataset(IMAGES), "holds a TensorDataset that is not one of images and labels"),
    ],
)
def test_two_readings_and_none_are_refused(content: Any, message: str, path: Path) -> None:
    with pytest.raises(InputError, match=rf"t\.pt.*{message}") as caught:
        read_parts(content, path)
    assert "\n" not in str(caught.value)


def test_images_and_labels_by_place(path: Path) -> None:
    for content, note in (
        ([IMAGES, LABELS], "a pair: images, then labels"),
        (TensorDataset(IMAGES, LABELS), "a TensorDataset: images, then labels"),
    ):
        parts = read(content, path)
        assert same(parts.images, IMAGES) and same(parts.labels, LABELS) and parts.note == note
    assert read(IMAGES, path).labels is None
    emptied = TensorDataset(IMAGES)
    vars(emptied).clear()
    with pytest.raises(InputError, match="holds a TensorDataset that is not"):
        read_parts(emptied, path)


def test_a_list_of_images_for_each_class(path: Path) -> None:
    apart = [IMAGES[:2], IMAGES[:0], IMAGES[2:]]
    for content in (apart, tuple(apart), [part.numpy() for part in apart]):
        parts = read(content, path)
        assert same(parts.images, IMAGES) and same(parts.labels, torch.tensor([0, 0, 2, 2])) and parts.classes == 3
        assert parts.note == "images of 3 classes apart, the label of each is its place in the list"
    assert same(read([IMAGES, IMAGES], path).labels, torch.tensor([0] * 4 + [1] * 4)), "two classes, no pair"


@pytest.mark.parametrize("keys", [(7, 1), ("7", "1"), (np.int64(7), np.int64(1))], ids=["int", "digits", "numpy"])
def test_a_dict_by_class_number(keys: tuple[Any, ...], path: Path) -> None:
    parts = read(dict(zip(keys, (IMAGES[:2], IMAGES[2:]), strict=True)), path)
    assert same(parts.labels, torch.tensor([7, 7, 1, 1])) and parts.classes is None and parts.class_names is None
    assert "the label of each is its class number" in parts.note


def test_a_dict_by_class_name(path: Path) -> None:
    parts = read({"cat": IMAGES[:2], "ant": IMAGES[2:]}, path)
    assert same(parts.labels, torch.tensor([0, 0, 1, 1])) and parts.class_names == ("cat", "ant")
    assert "the label of each is its class name, in the order of the file" in parts.note


def test_channels_are_where_one_reading_is_possible() -> None:
    assert layout_of((4, 6, 5)) == "N x H x W"
    assert layout_of((4, 3, 6, 5)) == layout_of((4, 1, 6, 5)) == "N x C x H x W"
    assert layout_of((4, 6, 5, 3)) == layout_of((4, 6, 5, 1)) == "N x H x W x C"
    assert layout_of((4, 6, 5, 4)) is layout_of((4, 108)) is None
    for shape in ([4, 3, 6, 3], [4, 1, 28, 1]):
        with pytest.raises(InputError) as caught:
            layout_of(shape)
        assert f"shape {shape}, which may be N x C x H x W or N x H x W x C" in str(caught.value)
