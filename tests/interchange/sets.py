"""Sets and files that the tests of this folder share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import import_set

GREY = ((0.5,), (0.25,))
STATED = ImportOptions(statistics=GREY)
LABELS = torch.tensor([0, 0, 1, 1])
EXACT = ("npz", "safetensors", "pt")
"""Formats that keep every bit."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NAMED = ImportOptions(statistics=GREY, class_names=DIGITS)
METADATA = ("class_names", "mean", "std", "formation", "value_range", "config", "fingerprint", "version", "decoding")


def make_set(channels: int = 3, **changes: Any) -> CondensedSet:
    """Six packed images of three classes, the classes not in order, pixels in and out of the range
    that can be shown."""
    generator = torch.Generator().manual_seed(0)
    fields: dict[str, Any] = {
        "images": torch.randn(6, channels, 6, 4, generator=generator) * 3,
        "labels": torch.tensor([1, 0, 1, 2, 0, 2]),
        "class_names": ("cat/../dog", "Ähre", ".."),
        "mean": (0.1, 0.5, 1 / 3)[:channels],
        "std": (0.2, 0.3, 0.7)[:channels],
        "formation": 2,
        "config": {"seed": 3, "images": {"ipc": 1}},
        "fingerprint": "0123abcd",
        "version": "0.0.9",
    }
    return CondensedSet(**(fields | changes))


def grey_images(count: int = 4) -> torch.Tensor:
    """Normalised images (count, 1, 4, 4), about -3 to 3."""
    return torch.linspace(-3, 3, count * 16).reshape(count, 1, 4, 4)


def saved(path: Path, content: Any) -> Path:
    """The file, as ``torch.save`` writes it."""
    torch.save(content, path)
    return path


def assert_same(left: CondensedSet, right: CondensedSet) -> None:
    """Equal to the last bit, metadata included."""
    assert left.images.shape == right.images.shape
    assert left.images.numpy().tobytes() == right.images.numpy().tobytes()
    assert torch.equal(left.labels, right.labels)
    for name in METADATA:
        assert getattr(left, name) == getattr(right, name), name


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def refused(path: Path, file_format: str, message: str, stated: ImportOptions = STATED) -> None:
    """Refused in one line that names the file."""
    with pytest.raises(InputError, match=message) as caught:
        import_set(path, file_format, stated)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
