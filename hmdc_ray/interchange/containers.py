"""What a container of arrays holds, as a condensed set: the common part of the formats that fix no
names and no scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hmdc_ray.condensed import Metadata
from hmdc_ray.data.containers import Array, layout_of, read_parts
from hmdc_ray.data.limits import check_expansion
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import FileContents, Scale
from hmdc_ray.interchange.labels import from_array


def read_container(content: Any, path: Path, metadata: str | bytes | None) -> FileContents:
    """Images and labels of a container; see :func:`hmdc_ray.data.containers.read_parts`.

    Images of 8 bits are pixels, divided by 255, wherever they have their channels; floating-point
    ones may be grey (N, H, W).

    Args:
        content: loaded content of the file.
        path: path of the file, for errors.
        metadata: JSON text of an export from here, which states everything else and how images are
            stored; None: there is none.

    Raises:
        InputError: no such container, several splits, or images of an unclear shape.
    """
    splits = read_parts(content, path)
    if set(splits) != {"train"}:
        raise InputError(f"{path} holds {' and '.join(splits)} images: give a file with one set, of training images")
    part = splits["train"]
    images = _tensor(part.images, path)
    labels = part.labels if part.labels is None or isinstance(part.labels, Tensor) else from_array(part.labels, path)
    if metadata is not None:
        return FileContents(images, labels, metadata=Metadata.parse(metadata))
    notes = [part.note] if part.note else []
    scale: Scale | None = None
    if images.dtype == torch.uint8:
        images, note = _unpacked(images, path)
        scale, notes = "pixel", [*notes, note]
    elif images.ndim == 3 and labels is not None and len(images) == len(labels):
        images, notes = images.unsqueeze(1), [*notes, "images are N x H x W, grey"]
    return FileContents(images, labels, scale=scale, classes=part.classes, class_names=part.class_names, notes=tuple(notes))


def _tensor(array: Array, path: Path) -> Tensor:
    return array if isinstance(array, Tensor) else from_array(array, path)


def _unpacked(images: Tensor, path: Path) -> tuple[Tensor, str]:
    """8-bit images as (N, C, H, W), 0 to 1, and how they were read."""
    layout = layout_of(images.shape)
    if layout is None:
        raise InputError(
            f"{path}: images are uint8 of shape {list(images.shape)}, must be N x H x W, N x C x H x W or N x H x W x C, "
            "with C 1 or 3"
        )
    check_expansion(path, images.numel() * torch.float32.itemsize, path.stat().st_size)
    if layout == "N x H x W":
        images = images.unsqueeze(1)
    elif layout == "N x H x W x C":
        images = images.movedim(3, 1)
    return images.float() / 255, f"images are uint8, {layout}: pixels 0 to 255, divided by 255"
