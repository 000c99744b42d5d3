"""Storage of checkpoints: a local folder, or any file system that Arrow opens by its address."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from pyarrow import fs

from hmdc_ray.errors import InputError
from hmdc_ray.system.deadline import within
from hmdc_ray.system.files import TEMPORARY_PREFIX, require_regular, write_atomically

ANSWER_SECONDS = 30.0
"""Longest time, in seconds, that a storage may take to write a small file and to remove it."""

_REMEDY = "give a folder, or the address of an existing bucket, that can be written"

ARROW_ERRORS = (OSError, pa.ArrowException)
"""What Arrow's file systems raise."""


class Storage(Protocol):
    """A flat folder of files. If the storage fails, methods raise :class:`InputError`, one line
    that names the file."""

    def place(self, name: str = "") -> str:
        """The address of a file, or of the folder, for people."""

    def names(self) -> list[str]:
        """Names of the files, sorted; none when there is no such folder."""

    def read(self, name: str) -> bytes:
        """Content of a file."""

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a whole file; the folder is created if it is missing."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def modified(self, name: str) -> float:
        """When a file was written, in seconds since 1970."""


@contextmanager
def _named(place: str, action: str) -> Iterator[None]:
    try:
        yield
    except ARROW_ERRORS as error:
        raise InputError(f"{place} cannot be {action}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return reason.splitlines()[0] if reason else type(error).__name__


class LocalStorage:
    """A local folder, or one on NFS: files appear whole, by a rename, after they were flushed to
    the disk.

    Args:
        path: path of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def place(self, name: str = "") -> str:
        """The path of a file, or of the folder."""
        return str(self.path / name)

    def names(self) -> list[str]:
        """Names of the files, sorted; none when there is no such folder."""
        with _named(self.place(), "read"):
            return sorted(entry.name for entry in self.path.iterdir()) if self.path.exists() else []

    def read(self, name: str) -> bytes:
        """Content of a file."""
        with _named(self.place(name), "read"):
            require_regular(self.path / name)
            return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a whole file, or leave the old one unchanged."""
        write_atomically(self.path / name, data)

    def remove(self, name: str) -> None:
        """Remove a file."""
        with _named(self.place(name), "removed"):
            (self.path / name).unlink()

    def modified(self, name: str) -> float:
        """When a file was written, in seconds since 1970."""
        with _named(self.place(name), "read"):
            return (self.path / name).stat().st_mtime


class ArrowStorage:
    """A folder of an Arrow file system. Object stores show a file when it is complete, and cannot
    rename one.

    Args:
        system: the file system.
        path: path of the folder within the file system.
        address: address of the folder as the user wrote it, for messages.
    """

    def __init__(self, system: fs.FileSystem, path: str, address: str) -> None:
        self.system = system
        self.path = path
        self.address = address

    def place(self, name: str = "") -> str:
        """The address of a file, or of the folder."""
        return f"{self.address.rstrip('/')}/{name}".rstrip("/")

    def names(self) -> list[str]:
        """Names of the files, sorted; none when there is no such folder."""
        with _named(self.place(), "read"):
            found = self.system.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(entry.base_name for entry in found if entry.type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        """Content of a file."""
        with _named(self.place(name), "read"), self.system.open_input_stream(self._path(name)) as stream:
            data: bytes = stream.read()
        return data

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a whole file. A failure may leave a part of it, which readers must detect by a
        checksum."""
        with _named(self.place(name), "written"):
            self.system.create_dir(self.path, recursive=True)
            with self.system.open_output_stream(self._path(name)) as stream:
                stream.write(data)

    def remove(self, name: str) -> None:
        """Remove a file."""
        with _named(self.place(name), "removed"):
            self.system.delete_file(self._path(name))

    def modified(self, name: str) -> float:
        """When a file was written, in seconds since 1970."""
        with _named(self.place(name), "read"):
            nanoseconds: int | None = self.system.get_file_info(self._path(name)).mtime_ns
        return (nanoseconds or 0) / 1e9

    def _path(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


def open_storage(location: str, folder: Path, field: str = "schedule.checkpoint_uri") -> Storage:
    """The storage at a location.

    Args:
        location: an address (``file://``, ``s3://``, ``gs://``), or a path; relative ones are
            within ``folder``.
        folder: folder of the run.
        field: configuration field or option of the location, for messages.

    Raises:
        InputError: Arrow does not know the address, or its file system does not answer.
    """
    if "://" not in location:
        return LocalStorage(folder / Path(location).expanduser())
    try:
        system, path = fs.FileSystem.from_uri(location)
    except ARROW_ERRORS as error:
        raise InputError(
            f"{field} is {location!r}, which cannot be opened ({str(error).splitlines()[0]}): "
            "give a path, or an address such as file:///folder, s3://bucket/folder or gs://bucket/folder"
        ) from error
    return LocalStorage(Path(path)) if isinstance(system, fs.LocalFileSystem) else ArrowStorage(system, path, location)


def require_writable(location: str, folder: Path, field: str, check: Callable[[], None]) -> None:
    """Write a small file to the folder at ``location``, and remove it.

    Object stores report a missing bucket, a dead endpoint, or a key without permission only then,
    some after minutes.

    Args:
        location: address or path, as for :func:`open_storage`.
        folder: folder of the run.
        field: configuration field or option of the location, for messages.
        check: function that is called several times a second while waiting; it may raise to stop.

    Raises:
        InputError: the folder cannot be written, or does not answer within :data:`ANSWER_SECONDS`.
    """

    def attempt() -> None:
        storage = open_storage(location, folder, field)
        name = f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        try:
            storage.write(name, b"hmdc")
            storage.remove(name)
        except InputError as error:
            reason = _reason(error.__cause__ or error)
            raise InputError(f"{field} is {location!r}, which cannot be written ({reason}): {_REMEDY}") from error

    try:
        within(ANSWER_SECONDS, attempt, check)
    except TimeoutError as error:
        raise InputError(f"{field} is {location!r}, where nobody answers ({error}): {_REMEDY}") from error
