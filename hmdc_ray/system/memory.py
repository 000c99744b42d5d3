"""Memory of a process and of its node: what is kept when it is freed, what lies on the disk
instead, what is taken and free."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import psutil
from numpy.typing import DTypeLike, NDArray

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Numbers of two settings of ``mallopt`` (GNU C library)."""

_LARGEST = 2**31 - 1

SPARE = 0.1
"""Part of a disk that is left to others: Ray's objects, checkpoints, the run's folder."""


def keep_freed_memory() -> None:
    """Let this process keep what it frees for what it allocates next; for processes that compute
    step after step.

    By default the GNU C library gives every large tensor back to the system when it is freed, and
    takes fresh pages for the next one, which the system fills with zeros, page by page: a fifth of
    a matching step on a CPU. Where there is another library, nothing changes.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, _LARGEST)
        library.mallopt(_MMAP_MAX, 0)


def own_bytes() -> int:
    """Memory that this process has for itself: without libraries, decoded data and messages, which
    processes share."""
    with suppress(OSError, KeyError, ValueError):
        return status_bytes("RssAnon")
    return int(psutil.Process().memory_info().rss)  # of a system that does not tell them apart


def status_bytes(field: str) -> int:
    """A field of Linux's ``/proc/self/status`` that is in kB, in bytes."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(fields[field].removesuffix("kB"))


def free_bytes(limits: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory that is free on this node, or, where that is less, until the limit of the container
    (cgroup) that this runs in.

    Args:
        limits: folder of the control group.
    """
    free = int(psutil.virtual_memory().available)
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, KeyError, ValueError):  # there is none, or it is 'max'
            most = int((limits / limit).read_text())
            statistics = (limits / limit).with_name("memory.stat").read_text().splitlines()
            given_back = int(dict(line.split() for line in statistics)[cached])  # when memory is short
            return max(0, min(free, most - int((limits / used).read_text()) + given_back))
    return free


def on_disk(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros in a nameless file in the folder for temporary files (``TMPDIR``), mapped into memory.

    For what is large and used in parts: when memory is short the system writes parts that are not
    in use to the file and uses their memory otherwise, unless the folder itself lies in memory
    (tmpfs). The zeros are in the process' own memory where the system cannot reserve room on the
    disk, or less than :data:`SPARE` of the disk would stay free.
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
