"""Locks on files, which end with the process that has them, however it ends."""

from __future__ import annotations

import fcntl
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from filelock import BaseFileLock, FileLock, Timeout

from hmdc_ray.errors import InputError
from hmdc_ray.system.files import named_errors, require_regular

_log = logging.getLogger(__name__)

LOCK_FILE = ".lock"
LOCK_POLL_SECONDS = 0.05
TELL_SECONDS = 2.0
"""Seconds of waiting for a lock before the log says so."""


@contextmanager
def locked(path: Path, what: str, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock on the file ``path`` (made if need be), waiting until whoever holds it
    lets go.

    That may take long, so a wait of more than a moment is logged, with the other process.

    Args:
        path: path of the file, which holds the number of the process that has locked it last.
        what: verb phrase for the log on what the other process does.
        check: callback run several times a second while waiting; may raise to stop.

    Raises:
        InputError: the file cannot be opened or locked.
    """
    tells_at = monotonic() + TELL_SECONDS
    while (lock := _try_lock(path)) is None:
        check()
        if monotonic() > tells_at:
            _log.warning("process %s %s: waiting until it has released %s", _recorded_owner(path), what, path)
            tells_at = math.inf
        sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _try_lock(path: Path) -> BaseFileLock | None:
    """Lock, and record this process in the file; None when another one has locked it."""
    with named_errors(path, "locked"):
        require_regular(path)
        path.parent.stat()  # filelock would make a folder that is not there
        try:
            return FileLock(path, thread_local=False, on_acquired=_record_owner).acquire(blocking=False).lock
        except Timeout:
            return None


def _record_owner(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())


def _recorded_owner(path: Path) -> str:
    return path.read_text(errors="replace").strip() or "unknown"


def lock_owner(folder: Path) -> str | None:
    """Number of the process that has claimed the folder, as text (``unknown`` if it wrote none);
    None when nobody has.

    While this looks, a claim by a new run is refused.

    Raises:
        InputError: the lock cannot be read.
    """
    lock = folder / LOCK_FILE
    if not lock.is_file():
        return None
    with named_errors(lock, "read"), lock.open() as file:
        try:
            # filelock has exclusive locks alone: of two processes that look, each would take the
            # other for a run.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _recorded_owner(lock)
    return None


def lock_for_life(folder: Path) -> BaseFileLock:
    """Lock a folder until the end of this process, or until the lock that is returned is released.

    Raises:
        InputError: another process has locked it, or it cannot be locked.
    """
    path = folder / LOCK_FILE
    if (lock := _try_lock(path)) is None:
        raise InputError(
            f"{folder}: folder in use by process {_recorded_owner(path)}: wait until that run ends, or choose another --output"
        )
    return lock
