"""Reading files of strangers: nothing in them is executed, and none takes far more memory than it takes on the disk."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.dtypes import Float64DType
from torch import Tensor

from hmdc_ray.data.limits import MOST_TEXT_BYTES, check_archive, check_array_header, check_arrays, check_expansion
from hmdc_ray.errors import InputError

# What torch.save wrote into DC's files beside tensors: the authors' accuracies as NumPy scalars, under NumPy 1 and 2 names.
_NUMPY_SCALAR = np._core.multiarray.scalar  # type: ignore[attr-defined]  # no public name
_ALLOWED: list[Any] = [(_NUMPY_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")] + [
    np.dtype,
    Float64DType,
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
    """Content of a file that ``torch.save`` wrote: tensors, numbers, texts and containers of them, nothing else.

    Raises:
        InputError: no such file, broken, of another format, or it asks for code.
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
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"asks for {forbidden[1]!r}, only tensors and numbers are read" if forbidden else "is not a file of torch.save"
        raise InputError(f"{path} {reason}") from error


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
        InputError: no such file, broken, of another format, or an array of Python objects, which would be code.
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
