"""Files that survive a crash: written whole or not at all, appended line by line, locked while in use."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from hmdc_ray.errors import InputError

_log = logging.getLogger(__name__)

LOCK_FILE = ".lock"
TEMPORARY_PREFIX = ".hmdc-tmp-"
LOCK_POLL_SECONDS = 0.05
TELL_SECONDS = 2.0
"""How long a lock is waited for in silence."""
RUN_FILES = (  # what a run writes in its folder; the configuration, which marks the folder as a run's, last
    "condensed.parquet",
    "images.png",
    "gradients.png",
    "matrix.png",
    "gains.png",
    "evaluation.json",
    "metrics.jsonl",
    "events.jsonl",
    "tracking.json",
    "tracking",
    "checkpoint",
    "config.yaml",
)


@contextmanager
def _named_errors(path: Path, action: str) -> Iterator[None]:
    """Turn errors of the operating system (full disk, no permission) into one line that names the file."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be {action}: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def require_regular(path: Path) -> None:
    """Refuse a named pipe, a socket or a device: who opens it may wait for ever. What is not there passes, as folders do.

    Raises:
        InputError: it is one.
    """
    tests = {"named pipe": path.is_fifo, "socket": path.is_socket, "device": path.is_char_device, "disk": path.is_block_device}
    for kind, is_one in tests.items():
        if is_one():
            raise InputError(f"{path} is a {kind}: give a file")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write, which takes the place of ``path`` when the block ends without an error.

    The folder is made when it is missing. The temporary file lies in it and has the same suffix. It is on the disk before
    it is renamed, and the rename before the block is left: after a crash ``path`` holds the old content or the new, never
    a part.

    Raises:
        InputError: the file cannot be written; ``path`` is as before, and the temporary file is gone.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}")
    try:
        with _named_errors(path, "written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):  # a folder that cannot be reached has no temporary file, and the first error counts
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes | memoryview | str) -> None:
    """Write a whole file (text as UTF-8), or leave what was there.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def append_json_line(path: Path, record: Mapping[str, Any]) -> None:
    """Add one record to a file of JSON lines with a single writer; a last line torn by a crash is cut off first.

    Numbers that are not finite are written as Python's ``json`` does (``NaN``, ``Infinity``).

    Raises:
        InputError: the file cannot be written.
    """
    line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    with _named_errors(path, "written"), path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
            file.truncate(path.read_bytes().rfind(b"\n") + 1)
        file.write(line)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines, in order, without a last line torn by a crash; none when there is no file.

    Raises:
        InputError: the file cannot be read, or a line other than a torn last one is not a JSON object.
    """
    if not path.exists():
        return []
    with _named_errors(path, "read"):
        require_regular(path)
        lines = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last line break is nothing, or torn
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise InputError(f"{path} line {number} is {line[:60]!r}: must be a JSON object")
        records.append(record)
    return records


class LineLog:
    """A file of JSON lines that a full disk does not stop: what cannot be written waits in memory for the next record.

    Args:
        path: the file, with a single writer; made with the first record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[Mapping[str, Any]] = []

    def add(self, record: Mapping[str, Any]) -> None:
        """Append a record, after those that wait; warns once when the file cannot be written."""
        self._waiting.append(record)
        try:
            while self._waiting:
                append_json_line(self.path, self._waiting[0])
                del self._waiting[0]
        except InputError as error:
            if len(self._waiting) == 1:
                _log.warning("%s; its lines wait in memory until it can", error)


@contextmanager
def locked(path: Path, what: str, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock on the file ``path`` (made if need be), waiting until whoever holds it lets go.

    That may take long, so a wait of more than a moment is told of in the log, with the other process.

    Args:
        path: of the file, which holds the number of the process that has locked it last.
        what: the other process is said to do.
        check: called several times a second while waiting; may raise to stop.

    Raises:
        InputError: the file cannot be opened or locked.
    """
    with _named_errors(path, "locked"):
        require_regular(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        tells_at: float | None = monotonic() + TELL_SECONDS
        while not _try_lock(descriptor, path):
            check()
            if tells_at is not None and monotonic() > tells_at:
                _log.warning("process %s %s: waiting until it has released %s", _recorded_holder(descriptor), what, path)
                tells_at = None
            sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, path: Path) -> bool:
    """Lock, and record this process in the file; False when another one has locked it."""
    with _named_errors(path, "locked"):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return True


def holder(folder: Path) -> str | None:
    """Number of the process that has claimed the folder, as text (``unknown`` if it wrote none); None when nobody has.

    For the moment of the question a claim by a new run is refused.

    Raises:
        InputError: the lock cannot be read.
    """
    lock = folder / LOCK_FILE
    if not lock.is_file():
        return None
    with _named_errors(lock, "read"):
        descriptor = os.open(lock, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _recorded_holder(descriptor)
        finally:
            os.close(descriptor)
    return None


def _recorded_holder(descriptor: int) -> str:
    return os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"


class RunFolder:
    """A run's folder, claimed by this process.

    The claim is a lock on the file ``.lock``, held until :meth:`release` or the end of the process: a process that is
    killed leaves the folder free.

    Attributes:
        path: the folder, which exists.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def claim(cls, path: Path, overwrite: bool = False, resume: bool = False) -> RunFolder:
        """Take a folder for a run; makes it when there is none. What an earlier run wrote stays until :meth:`clear`.

        Args:
            path: the folder.
            overwrite: the run that it holds may be replaced.
            resume: go on with the run that it holds.

        Raises:
            InputError: another process uses the folder; it holds files and neither flag is given; there is no run to
                resume; files would be overwritten in a folder that is not a run's; it cannot be made or locked.
        """
        cls.check(path, overwrite, resume)  # before anything is made: a refused folder stays as it was
        with _named_errors(path, "made"):
            path.mkdir(parents=True, exist_ok=True)
        folder = cls(path, _lock_for_life(path))
        try:
            _require_usable(path, overwrite, resume)
            with _named_errors(path, "cleared"):
                _remove(path, [TEMPORARY_PREFIX + "*"])
        except BaseException:
            folder.release()
            raise
        return folder

    @staticmethod
    def check(path: Path, overwrite: bool, resume: bool) -> None:
        """Refuse a folder that :meth:`claim` would refuse, as far as it can be known without making anything.

        Raises:
            InputError: as there.
        """
        if overwrite and resume:
            raise InputError("--overwrite and --resume contradict each other: use one of them")
        if not (path / LOCK_FILE).exists():
            _require_usable(path, overwrite, resume)

    @property
    def holds_run(self) -> bool:
        """Whether there are files that :meth:`clear` would remove."""
        return any(True for pattern in RUN_FILES for _ in self.path.glob(pattern))

    def clear(self) -> None:
        """Remove the files of the run that the folder holds (:data:`RUN_FILES`, nothing else).

        Raises:
            InputError: a file cannot be removed.
        """
        with _named_errors(self.path, "cleared"):
            _remove(self.path, RUN_FILES)

    def release(self) -> None:
        """Let others claim the folder; harmless when repeated."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _lock_for_life(path: Path) -> int:
    """Lock the folder and record this process in the lock file; returns the descriptor that holds the lock."""
    with _named_errors(path / LOCK_FILE, "locked"):
        descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _try_lock(descriptor, path / LOCK_FILE):
                raise InputError(
                    f"{path}: folder in use by process {_recorded_holder(descriptor)}: wait until that run ends, or choose "
                    "another --output"
                )
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def _require_usable(path: Path, overwrite: bool, resume: bool) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file: --output must be a folder")
    with _named_errors(path, "read"):
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    names = {name for name in names if name != LOCK_FILE and not name.startswith(TEMPORARY_PREFIX)}
    holds_run = "config.yaml" in names
    if resume:
        if not holds_run:
            raise InputError(f"{path} holds no run (no config.yaml), nothing to resume: leave out --resume, or name its folder")
    elif overwrite:
        foreign = sorted(names - set(RUN_FILES))
        if foreign and not holds_run:
            raise InputError(
                f"{path} holds {foreign[0]!r} and no run: --overwrite is for a run's folder, choose another --output"
            )
    elif holds_run:
        raise InputError(
            f"{path} already holds a run: use --resume to go on with it, --overwrite to replace it, or another --output"
        )
    elif names:
        raise InputError(f"{path} holds {min(names)!r} and no run: choose an empty folder or a new one as --output")


def _remove(folder: Path, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for entry in folder.glob(pattern):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
