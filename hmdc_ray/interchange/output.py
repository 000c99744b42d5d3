"""Where exports and imports are written: never over something that is there unless asked, and whole
or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmdc_ray.errors import InputError
from hmdc_ray.system.files import TEMPORARY_PREFIX, atomic_path


def require_free(path: Path, overwrite: bool) -> None:
    """Refuse a file name that is taken.

    Raises:
        InputError: something is there and is not to be overwritten, or is a folder.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file")
    if os.path.lexists(path) and not overwrite:
        raise InputError(f"{path} exists already: choose another name, or replace it with --overwrite")


@contextmanager
def new_file(path: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary path to write, which becomes ``path`` when the block ends without an error.

    Raises:
        InputError: something is there and is not to be overwritten, or is a folder; or the file
            cannot be written.
    """
    require_free(path, overwrite)
    with atomic_path(path) as temporary:
        yield temporary


@contextmanager
def new_folder(path: Path, overwrite: bool, marker: str, endings: frozenset[str]) -> Iterator[Path]:
    """A temporary folder to fill, which becomes ``path`` when the block ends without an error.

    Args:
        path: the folder; its parents are made.
        overwrite: whether an earlier export, and nothing else, may be replaced.
        marker: name of the file that marks a folder as an earlier export.
        endings: endings of all files that an export has.

    Raises:
        InputError: something is there and is not to be overwritten, or is no earlier export; the
            folder cannot be written. What was there before is restored.
    """
    _require_replaceable(path, overwrite, marker, endings)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}")
    aside = temporary.with_name(f"{temporary.name}.old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _sync(temporary)
        if path.exists():
            path.rename(aside)
        try:
            temporary.rename(path)
        except OSError:
            if aside.exists():
                aside.rename(path)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _require_replaceable(path: Path, overwrite: bool, marker: str, endings: frozenset[str]) -> None:
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise InputError(f"{path} exists already: choose another name, or replace it with --overwrite")
    if path.is_symlink() or not path.is_dir():
        raise InputError(f"{path} is not a folder: choose another name")
    foreign = sorted(
        str(file.relative_to(path)) for file in path.rglob("*") if not file.is_dir() and file.suffix not in endings
    )
    if foreign or (any(path.iterdir()) and not (path / marker).is_file()):
        what = f"it holds {foreign[0]!r}" if foreign else f"it has no {marker}"
        raise InputError(f"{path} is no earlier export of this format ({what}), and is not overwritten: choose another name")


def _sync(folder: Path) -> None:
    """Bring all files to the disk before the folder gets its name."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
