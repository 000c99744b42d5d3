"""Labels from a file of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmdc_ray.data.safe import load_npy, load_torch, plain_tensor
from hmdc_ray.errors import InputError


def read_labels(path: Path) -> Tensor:
    """Labels as ``torch.save`` or ``numpy.save`` wrote them (``.npy``), not yet checked.

    Raises:
        InputError: no such file, or neither of the formats.
    """
    if path.suffix == ".npy":
        return from_array(load_npy(path), path)
    return plain_tensor(load_torch(path), path, "labels")


def from_array(array: np.ndarray, path: Path) -> Tensor:
    """A tensor of the same numbers.

    Raises:
        InputError: texts, dates, or numbers that torch does not have.
    """
    try:
        return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))).reshape(array.shape))
    except TypeError:
        raise InputError(f"{path} holds {array.dtype}, must be numbers") from None


def integers(labels: Tensor, count: int) -> Tensor:
    """Labels as int64 (N,).

    Raises:
        InputError: not integers, as of soft labels, or not one for each of ``count`` images.
    """
    whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if not whole or labels.ndim != 1:
        raise InputError(f"labels are {labels.dtype} {list(labels.shape)}, must be integers, one an image (not soft labels)")
    if len(labels) != count:
        raise InputError(f"labels are {len(labels)}, must be one for each of {count} images")
    return labels.to(torch.int64)
