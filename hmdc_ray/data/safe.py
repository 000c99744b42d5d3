"""Reading untrusted files: nothing in them is executed, and none takes far more memory than it
takes on the disk."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from hmdc_ray.data.limits import MOST_TEXT_BYTES, check_archive, check_array_header, check_arrays, check_expansion
from hmdc_ray.errors import InputError

# What files of torch.save hold beside tensors: numbers of NumPy, such as accuracies, and types of
# numbers. Each under its names in NumPy 1 and NumPy 2. None of them does anything but hold a
# number.
_NUMBERS = tuple(kind for kind in dict.fromkeys(np.sctypeDict.values()) if np.dtype(kind).kind in "biufc")
_SCALAR = np._core.multiarray.scalar  # type: ignore[attr-defined]  # no public name
_ALLOWED: list[Any] = [
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *{type(np.dtype(kind)) for kind in _NUMBERS},
    *_NUMBERS,
    (np.bool_, "numpy.bool_"),
    (np.bool_, "numpy.bool"),
    TensorDataset,
]


def require_file(path: Path) -> None:
    """Refuse what is not a file.

    Raises:
        InputError: nothing there, a folder, or no permission to read it.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder: give a file")
    if not path.is_file():
        raise InputError(f"{path} does not exist: give a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read: Permission denied")


def read_text(path: Path) -> bytes:
    """A text of at most 64 MiB, not decoded.

    Raises:
        InputError: no such file, or larger.
    """
    require_file(path)
    size = path.stat().st_size
    if size > MOST_TEXT_BYTES:
        raise InputError(f"{path} has {size:,} bytes, must be at most {MOST_TEXT_BYTES:,}")
    return path.read_bytes()


def load_torch(path: Path) -> Any:
    """Content of a file that ``torch.save`` wrote: tensors, numbers, texts and containers of them,
    nothing else.

    Numbers may be NumPy's, and a container a ``TensorDataset``, whose ``tensors`` are as little
    checked as any other value.

    Raises:
        InputError: no such file, broken, of another format, or it asks for code; with the first
            line of torch's reason.
    """
    require_file(path)
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if zipped:
        check_archive(path)
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes can fail anywhere in the reader
        raise InputError(f"{path} {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Why torch reads no file: what its reader met, not the advice around it, which is to trust the
    file."""
    forbidden = re.search(r"GLOBAL (\S+)", str(error))
    if forbidden:
        return f"asks for {forbidden[1]!r}, only tensors and numbers are read"
    met = error.__context__ or error
    first = next((line.strip() for line in str(met).splitlines() if line.strip()), "it ends too early")
    return f"cannot be read as a file of torch.save: {type(met).__name__}: {first[:300]}"


def plain_tensor(value: Any, path: Path, what: str) -> Tensor:
    """The value, if it is an ordinary tensor that takes no more memory than the file could hold.

    Raises:
        InputError: anything else, such as sparse, endlessly repeated, or no values.
    """
    if not isinstance(value, Tensor):
        raise InputError(f"{path}: {what} is {type(value).__name__}, must be a tensor")
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        raise InputError(
            f"{path}: {what} is a {value.layout} tensor of {value.dtype} on {value.device}, must be an ordinary one"
        )
    if not value.numel():
        raise InputError(f"{path}: {what} has shape {list(value.shape)}, must hold at least one value")
    check_expansion(path, value.numel() * value.element_size(), path.stat().st_size)
    return value.detach()


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` file, by name; shapes are checked before memory is taken for them.

    Raises:
        InputError: no such file, broken, of another format, or an array of Python objects, which
            would be code.
    """
    require_file(path)
    check_arrays(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # broken bytes can fail anywhere in the reader
        raise InputError(f"{path} is not an .npz file of plain arrays: {error}") from error


def load_npy(path: Path) -> np.ndarray:
    """The array of an ``.npy`` file.

    Raises:
        InputError: no such file, broken, of another format, or Python objects.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            check_array_header(file, path.name, path.stat().st_size)
        return np.array(np.lib.format.open_memmap(path, mode="r"))
    except Exception as error:  # broken bytes can fail anywhere in the reader
        raise InputError(f"{path} is not an .npy file of a plain array: {error}") from error
