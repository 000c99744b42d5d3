"""Memory that a process keeps when it has freed it, and arrays that lie on the disk instead."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Numbers of two settings of ``mallopt`` (GNU C library)."""

_LARGEST = 2**31 - 1

SPARE = 0.1
"""Part of a disk that is left to others: Ray's objects, checkpoints, the run's folder."""


def keep_freed_memory() -> None:
    """Let this process keep what it frees for what it allocates next; for processes that work through step after step.

    By default the GNU C library gives every large tensor back to the system when it is freed, and takes fresh pages for the
    next one, which the system fills with zeros, page by page: a fifth of a matching step on a CPU. Where there is another
    library, nothing changes.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, _LARGEST)
        library.mallopt(_MMAP_MAX, 0)


def on_disk(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros in a nameless file in the folder for temporary files (``TMPDIR``), mapped into memory.

    For what is large and used in parts: when memory is short the system writes parts that are not in use to the file and uses
    their memory otherwise, unless the folder itself lies in memory (tmpfs). The zeros are in the process' own memory where the
    system cannot reserve room on the disk, or less than :data:`SPARE` of the disk would stay free.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    reserve = getattr(os, "posix_fallocate", None)
    if reserve is None or size == 0:
        return np.zeros(shape, dtype)
    try:
        with TemporaryFile() as file:  # the array has a descriptor of its own
            disk = os.fstatvfs(file.fileno())
            if disk.f_bavail * disk.f_frsize - size < SPARE * disk.f_blocks * disk.f_frsize:
                return np.zeros(shape, dtype)
            reserve(file.fileno(), 0, size)  # without room for a page the process would end when it writes to it
            return np.asarray(np.memmap(file, dtype, "r+", shape=tuple(shape)))
    except OSError:
        return np.zeros(shape, dtype)
