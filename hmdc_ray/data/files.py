"""Which Parquet files a source consists of, and which split each belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hmdc_ray.data.schema import SPLITS, Split
from hmdc_ray.errors import InputError

_SPLIT_NAME = re.compile(r"(train|valid|validation|val|test)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class SourceFile:
    """A Parquet file of the source and the split that its name says."""

    path: Path
    split: Split


def split_of(name: str) -> Split | None:
    """The split that the name of a file or folder begins with (``train-00000-of-00002.parquet``, ``val``), if any."""
    match = _SPLIT_NAME.match(name)
    if match is None:
        return None
    word = match[1].lower()
    return "train" if word == "train" else "test" if word == "test" else "validation"


def find_files(source: str) -> tuple[SourceFile, ...]:
    """The Parquet files of ``source``: a file, or a folder with files, or with subfolders named after splits.

    Names begin with ``train``, ``validation`` (``valid``, ``val``) or ``test``, as Hugging Face writes them; when no name
    does, every file belongs to the training split. Hidden files are ignored.

    Returns:
        Files in the order of their splits and names, absolute.

    Raises:
        InputError: the source does not exist, holds no Parquet file, or a file that belongs to no split beside others that do.
    """
    path = Path(source).expanduser().absolute()
    if path.is_file():
        return (SourceFile(path, "train"),)
    if not path.is_dir():
        raise InputError(f"data.source {source!r} does not exist; give a Parquet file, a folder of them, or 'digits'")
    named = [(found, split_of(found.name)) for found in _parquet_files(path)]
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        split = split_of(folder.name)
        if split is not None:
            named += [(found, split) for found in _parquet_files(folder)]
    if not named:
        raise InputError(
            f"data.source {source!r} holds no Parquet file, such as train-*.parquet; for a folder of"
            f" images: hmdc prepare {source} OUT, then --data OUT"
        )
    if all(split is None for _, split in named):
        return tuple(SourceFile(found, "train") for found, _ in named)
    return _by_split(source, named)


def _by_split(source: str, named: Iterable[tuple[Path, Split | None]]) -> tuple[SourceFile, ...]:
    files = []
    for path, split in named:
        if split is None:
            raise InputError(
                f"data.source {source!r}: {path.name!r} belongs to no split; rename it to train-*.parquet,"
                " validation-*.parquet or test-*.parquet, or move it away"
            )
        files.append(SourceFile(path, split))
    if not any(file.split == "train" for file in files):
        raise InputError(f"data.source {source!r} has no training files: expected names such as train-*.parquet")
    return tuple(sorted(files, key=lambda file: SPLITS.index(file.split)))


def _parquet_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if path.is_file() and not path.name.startswith("."))
