"""Labels from a file of their own, and images with labels beside them, as ``torch.save`` or
``numpy.save`` writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmdc_ray.data.safe import load_npy, load_torch, plain_tensor
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import ImportOptions


def read_labels(path: Path) -> Tensor:
    """Labels as ``torch.save`` or ``numpy.save`` wrote them (``.npy``), not yet checked.

    Raises:
        InputError: no such file, or neither of the formats.
    """
    if path.suffix == ".npy":
        return from_array(load_npy(path), path)
    return plain_tensor(load_torch(path), path, "labels")


def from_array(array: np.ndarray, path: Path) -> Tensor:
    """A tensor of the same numbers and shape.

    Raises:
        InputError: texts, dates, or numbers that torch does not have.
    """
    try:
        return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))).reshape(array.shape))
    except TypeError:
        raise InputError(f"{path} holds {array.dtype}, must be numbers") from None


def read_pair(path: Path, stated: ImportOptions, images_name: str) -> tuple[Path, Tensor, Tensor | None]:
    """Images, and the labels in the file of the same name with ``labels`` for ``images``, unless
    the user states another.

    Args:
        path: file of the images, or the folder that holds it.
        stated: facts from the user, who may name a file of labels.
        images_name: file of the images in a folder.

    Returns:
        The file of the images, the images, and the labels or None.

    Raises:
        InputError: no such file, or not a tensor.
    """
    file = path / images_name if path.is_dir() else path
    images = plain_tensor(load_torch(file), file, "images")
    beside = file.with_name(file.name.replace("images", "labels"))
    if stated.labels is not None or beside == file:
        return file, images, None
    if not beside.is_file():
        raise InputError(f"{file} has no labels: {beside.name} is not beside it, give --labels")
    return file, images, read_labels(beside)
