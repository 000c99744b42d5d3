"""Files that survive a crash: written whole or not at all, or appended line by line."""

from __future__ import annotations

import errno
import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hmdc_ray.errors import InputError

_log = logging.getLogger(__name__)

TEMPORARY_PREFIX = ".hmdc-tmp-"
"""Prefix of the names of files that are not yet whole."""


@contextmanager
def named_errors(path: Path, action: str) -> Iterator[None]:
    """Turn errors of the operating system (full disk, no permission) into one line that names the
    file."""
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
    """Refuse a named pipe, a socket or a device, which may block for ever when opened. Missing
    files and folders pass.

    Raises:
        InputError: the path is one of these.
    """
    tests = {"named pipe": path.is_fifo, "socket": path.is_socket, "device": path.is_char_device, "disk": path.is_block_device}
    for kind, is_one in tests.items():
        if is_one():
            raise InputError(f"{path} is a {kind}: give a file")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write, which takes the place of ``path`` when the block ends without an
    error.

    The folder is made when it is missing. The temporary file lies in it and has the same suffix. It
    is on the disk before it is renamed, and the rename before the block is left: after a crash
    ``path`` holds the old content or the new, never a part.

    Raises:
        InputError: the file cannot be written; ``path`` is as before, and the temporary file is
            gone.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}")
    try:
        with named_errors(path, "written"):
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
    """Add one record to a file of JSON lines with a single writer; a last line torn by a crash is
    cut off first.

    Numbers that are not finite are written as Python's ``json`` does (``NaN``, ``Infinity``).

    Raises:
        InputError: the file cannot be written.
    """
    line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    with named_errors(path, "written"), path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
            file.truncate(path.read_bytes().rfind(b"\n") + 1)
        file.write(line)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines, in order, without a last line torn by a crash; none when
    there is no file.

    Raises:
        InputError: the file cannot be read, or a line other than a torn last one is not a JSON
            object.
    """
    if not path.exists():
        return []
    with named_errors(path, "read"):
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
    """A file of JSON lines that a full disk does not stop: what cannot be written waits in memory
    for the next record.

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
