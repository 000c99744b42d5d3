"""Locks on files, which end with the process that has them, however it ends."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from hmdc_ray.errors import InputError
from hmdc_ray.system.files import named_errors, require_regular

_log = logging.getLogger(__name__)

LOCK_FILE = ".lock"
LOCK_POLL_SECONDS = 0.05
TELL_SECONDS = 2.0
"""Seconds of waiting for a lock before the log says so."""


@contextmanager
def locked(path: Path, what: str, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock on the file ``path`` (made if need be), waiting until whoever holds it lets go.

    That may take long, so a wait of more than a moment is logged, with the other process.

    Args:
        path: path of the file, which holds the number of the process that has locked it last.
        what: verb phrase for the log on what the other process does.
        check: callback run several times a second while waiting; may raise to stop.

    Raises:
        InputError: the file cannot be opened or locked.
    """
    with named_errors(path, "locked"):
        require_regular(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        tells_at: float | None = monotonic() + TELL_SECONDS
        while not _try_lock(descriptor, path):
            check()
            if tells_at is not None and monotonic() > tells_at:
                _log.warning("process %s %s: waiting until it has released %s", _recorded_owner(descriptor), what, path)
                tells_at = None
            sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, path: Path) -> bool:
    """Lock, and record this process in the file; False when another one has locked it."""
    with named_errors(path, "locked"):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return True


def lock_owner(folder: Path) -> str | None:
    """Number of the process that has claimed the folder, as text (``unknown`` if it wrote none); None when nobody has.

    While this looks, a claim by a new run is refused.

    Raises:
        InputError: the lock cannot be read.
    """
    lock = folder / LOCK_FILE
    if not lock.is_file():
        return None
    with named_errors(lock, "read"):
        descriptor = os.open(lock, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _recorded_owner(descriptor)
        finally:
            os.close(descriptor)
    return None


def _recorded_owner(descriptor: int) -> str:
    return os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"


def lock_for_life(path: Path) -> int:
    """Lock a folder until the end of this process, or until the descriptor that is returned is closed.

    Raises:
        InputError: another process has locked it, or it cannot be locked.
    """
    with named_errors(path / LOCK_FILE, "locked"):
        descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _try_lock(descriptor, path / LOCK_FILE):
                raise InputError(
                    f"{path}: folder in use by process {_recorded_owner(descriptor)}: wait until that run ends, or choose "
                    "another --output"
                )
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor
