"""Memory that a process keeps when it has freed it, and memory that it need not have."""

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
    """Zeros in a nameless file, in the system's folder for temporary ones, that the process sees as memory.

    For what is large and used in parts: the system writes to the file what it needs the memory of, so it need not fit. Where
    the disk has no room, or the system no way to reserve it, the zeros are in the process' own memory.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    reserve = getattr(os, "posix_fallocate", None)
    if reserve is None or size == 0:
        return np.zeros(shape, dtype)
    try:
        with TemporaryFile() as file:  # the mapping keeps it
            reserve(file.fileno(), 0, size)  # a page without room on the disk would end the process when it is written to
            return np.asarray(np.memmap(file, dtype, "r+", shape=tuple(shape)))
    except OSError:
        return np.zeros(shape, dtype)
