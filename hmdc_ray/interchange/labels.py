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
    """A tensor of the same numbers and shape.

    Raises:
        InputError: texts, dates, or numbers that torch does not have.
    """
    try:
        return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))).reshape(array.shape))
    except TypeError:
        raise InputError(f"{path} holds {array.dtype}, must be numbers") from None
