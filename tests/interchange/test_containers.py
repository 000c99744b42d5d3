"""Usual containers of images and labels are read as they are meant, and say so; where two readings
are possible: refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

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


@pytest.mark.parametrize("file_format", WRITERS)
def test_how_arrays_were_taken_is_told(file_format: str, tmp_path: Path) -> None:
    content = {"X_train": grey_images(), "target": torch.eye(10)[LABELS], "steps": torch.arange(3)}
    WRITERS[file_format](tmp_path / "file", content)

    imported = import_set(tmp_path / "file", file_format, STATED)

    assert torch.equal(imported.condensed.images, grey_images()) and torch.equal(imported.condensed.labels, LABELS)
    lines = imported.assumed.splitlines()
    assert "images of 'X_train', labels of 'target'; not read: 'steps'" in lines and "one-hot labels of 10 columns" in lines
    assert "classes 3, 4, 5, 6, 7, 8, 9 have no image" in lines and "highest" not in imported.assumed
    with pytest.raises(InputError, match="--class-names are a, b: 2 names, but the file has 10 classes"):
        import_set(tmp_path / "file", file_format, ImportOptions(GREY, class_names=("a", "b")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"x_train": grey_images(), "y_train": LABELS, "x_test": grey_images(), "y_test": LABELS},
            "holds train and test images: give a file with one set",
        ),
        ({"x_test": grey_images(), "y_test": LABELS}, "holds test images: give a file with one set"),
        ({"data": grey_images(), "fine_labels": LABELS}, "there are no labels in the file: give --labels"),
        ([LABELS, grey_images()], r"images have shape \[4\]"),
    ],
)
def test_anything_but_one_set_of_images_with_labels_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    refused(content, message, tmp_path)
