"""Limits on untrusted files, checked against what their headers declare before memory or disk is
taken for it."""

from __future__ import annotations

import math
import shutil
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow.parquet as pq

from hmdc_ray.errors import InputError

FREE_BYTES = 64 << 20
"""Bytes that a file may unpack to, however small it is."""
MOST_EXPANSION = 100
MOST_TEXT_BYTES = 64 << 20
"""Bytes of the largest untrusted text that is parsed: lists of files and metadata."""


LFS_POINTER = b"version https://git-lfs"
"""Beginning of the text that Git LFS leaves in place of a file that it has not fetched."""


def check_fetched(path: Path) -> None:
    """Refuse what Git LFS leaves in the place of a file that it has not fetched.

    Raises:
        InputError: such a pointer.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise InputError(f"{path} is a pointer of Git LFS, not the file itself: run 'git lfs pull' in its repository")


def check_expansion(path: Path, unpacked: int, packed: int) -> None:
    """Refuse content that is small on the disk and huge in memory: more than 100 times as large,
    and above 64 MiB.

    Args:
        path: file named in the error.
        unpacked: bytes in memory.
        packed: bytes on the disk.

    Raises:
        InputError: too large.
    """
    if unpacked > max(FREE_BYTES, MOST_EXPANSION * packed):
        raise InputError(f"{path} unpacks to {unpacked:,} bytes from {packed:,}: refused, images do not shrink so far")


def check_room(folder: Path, needed: int, what: str) -> None:
    """Refuse what would fill the disk.

    Raises:
        InputError: the folder, which exists, has less room than needed.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(f"{what} take {needed:,} bytes, but {folder} has room for {free:,}: free some, or use another folder")


def check_archive(path: Path) -> None:
    """Refuse a zip file whose members are far larger than the file; see :func:`check_expansion`.

    Raises:
        InputError: too large, or not a whole zip file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except Exception as error:  # broken bytes can fail anywhere in the reader
        raise InputError(f"{path} is not a whole zip file: {error}") from error
    check_expansion(path, unpacked, path.stat().st_size)


def check_arrays(path: Path) -> None:
    """Refuse an ``.npz`` file with an array of Python objects, which would be code, or of a shape
    beyond its bytes.

    Raises:
        InputError: such an array; too large, see :func:`check_archive`; not a whole ``.npz`` file.
    """
    check_archive(path)
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    check_array_header(file, member.filename, member.file_size)
    except Exception as error:  # broken bytes can fail anywhere in the reader
        raise InputError(f"{path} is not an .npz file of plain arrays: {error}") from error


def check_parquet(path: Path, file: pq.ParquetFile) -> None:
    """Refuse a Parquet file whose columns, or row numbers alone, are far larger than the file; see
    :func:`check_expansion`.

    Only the sizes of its row groups are read: Arrow aborts the process where the metadata of a
    column are damaged and Python asks for them. So values that run-length coding repeats count
    once.

    Args:
        path: file named in the error.
        file: the same file, opened.

    Raises:
        InputError: too large by its metadata, or the metadata contradict themselves.
    """
    metadata, size = file.metadata, path.stat().st_size
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    numbers = [metadata.num_rows, *(number for group in groups for number in (group.num_rows, group.total_byte_size))]
    if min(numbers) < 0 or sum(group.num_rows for group in groups) != metadata.num_rows:
        raise InputError(f"{path}: its metadata name {metadata.num_rows} rows, and other numbers in its parts: it is damaged")
    check_expansion(path, metadata.num_rows * np.dtype(np.int64).itemsize, size)
    check_expansion(path, sum(group.total_byte_size for group in groups), size)


def check_array_header(file: IO[bytes], name: str, size: int) -> None:
    """Refuse an array of NumPy's format by its header.

    Args:
        file: open file, positioned at the array's header.
        name: name of the array, for the error.
        size: bytes of header and array.

    Raises:
        ValueError: no such header, Python objects, or a shape beyond the bytes; NumPy's reader
            raises further kinds.
    """
    version = np.lib.format.read_magic(file)
    if version > (2, 0):
        raise ValueError(f"{name} has version {version} of the format, above 2.0")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects")
    if min(shape, default=0) < 0 or math.prod(shape) * max(1, dtype.itemsize) > size:  # texts and records may have no bytes
        raise ValueError(f"{name} has shape {shape}, but only {size} bytes")
