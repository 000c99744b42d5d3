"""Where checkpoints lie: a folder of this machine, or any file system that Arrow reaches by an address."""

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
"""How long a storage may take to write a small file and to remove it."""

_REMEDY = "give a folder, or an address of a bucket that is there, that can be written"

ARROW_ERRORS = (OSError, pa.ArrowException)
"""What Arrow's file systems raise."""


class Storage(Protocol):
    """A flat folder of files. Every method raises :class:`InputError`, one line with the file, when the storage fails."""

    def place(self, name: str = "") -> str:
        """The address of a file, or of the folder, for people."""

    def names(self) -> list[str]:
        """Names of the files, sorted; none when there is no such folder."""

    def read(self, name: str) -> bytes:
        """Content of a file."""

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a whole file; the folder is made when it is missing."""

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
    """A folder, also on NFS: files appear whole, by a rename, and are on the disk when they do.

    Args:
        path: the folder.
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
        """Write a whole file, or leave what was there."""
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
    """A folder of an Arrow file system. On object stores a file appears when it is complete, and nothing can be renamed.

    Args:
        system: the file system.
        path: of the folder within it.
        address: what the user called the folder, for messages.
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
        """Write a whole file; where the file system does not see to it that it is whole, a checksum must."""
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
    """The folder at ``location``: an address (``file://``, ``s3://``, ``gs://``), or a path, relative ones within ``folder``.

    Args:
        location: the address or path.
        folder: of the run.
        field: what gave the location, for messages.

    Raises:
        InputError: an address that Arrow does not know, or whose file system does not answer.
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
    """Write a small file to the folder at ``location``, and remove it: object stores tell of a missing bucket, of an endpoint
    that nobody serves, and of a key without permission only then, and some of them try for minutes first.

    Args:
        location: an address or a path, see :func:`open_storage`.
        folder: of the run.
        field: what gave the location, for messages.
        check: called several times a second; may raise to stop.

    Raises:
        InputError: it cannot be written, or does not answer within :data:`ANSWER_SECONDS`.
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
