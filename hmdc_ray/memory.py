"""How a process treats memory that it has freed."""

from __future__ import annotations

import ctypes
from contextlib import suppress

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
