"""Which Parquet files a source consists of, and which split each belongs to."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from hmdc_ray.data.schema import SPLITS, Split
from hmdc_ray.data.split_names import hidden_keyword, split_of
from hmdc_ray.errors import InputError, listed

_ENDING = ".parquet"
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})")
_RENAME = "train-*.parquet, validation-*.parquet or test-*.parquet"


@dataclass(frozen=True)
class SourceFile:
    """A Parquet file of the source.

    Attributes:
        path: absolute path.
        split: split that its name, or that of a folder around it, says; training where none does.
        is_named: whether a name says the split.
    """

    path: Path
    split: Split
    is_named: bool = True


def find_files(source: str) -> tuple[SourceFile, ...]:
    """The Parquet files of ``source``: a file, or a folder with files in any depth, as a Hugging
    Face repository has them.

    The split is a keyword (:mod:`hmdc_ray.data.split_names`) in the file's name or in that of a
    folder between it and the source; when no file has one, all belong to the training split. Other
    folders around the files name a configuration of the data set, of which there may be one. Hidden
    files and folders are ignored.

    Returns:
        Files in the order of their splits and paths, absolute.

    Raises:
        InputError: the source does not exist, or holds no Parquet file, no training file, several
            configurations, a link to nothing, or a part of a set twice; a file of no split beside
            others that have one; a name with two splits, with a keyword inside of another word, or
            that is not UTF-8.
    """
    path = Path(source).expanduser().absolute()
    require_text(path)
    if path.is_file():
        return (SourceFile(path, "train", is_named=False),)
    if not path.is_dir():
        raise InputError(f"data.source {source!r} does not exist; give a Parquet file, a folder of them, or 'digits'")
    found = sorted(PurePath(file).relative_to(path) for file in _visible_files(path) if file.lower().endswith(_ENDING))
    if not found:
        raise InputError(f"data.source {source!r} holds no Parquet file, such as train-*.parquet{_remedy(source, path)}")
    for file in found:
        require_text(path / file)
    splits = {file: _split(source, file) for file in found}
    _require_one_configuration(source, found)
    _require_single_parts(source, found)
    if all(split is None for split in splits.values()):
        return tuple(SourceFile(path / file, "train", is_named=False) for file in found)
    return _by_split(source, path, splits)


def missing_shards(files: Iterable[SourceFile]) -> list[str]:
    """What the files' names (``train-00000-of-00004.parquet``) say is missing of a data set: a line
    for each family."""
    families: dict[tuple[Path, str, int], set[int]] = {}
    for file in files:
        named = _SHARD.match(file.path.name)
        if named is not None:
            families.setdefault((file.path.parent, named[1], int(named[3])), set()).add(int(named[2]))
    return [
        f"{name}-*: {len(present)} of {count} files are there"
        for (_, name, count), present in sorted(families.items())
        if len(present) < count
    ]


def _split(source: str, file: PurePath) -> Split | None:
    try:
        split = split_of(file.parts)
    except InputError as error:
        raise InputError(f"data.source {source!r}: {error}, such as {_RENAME}") from error
    if split is None:
        for part in (file, *file.parents):
            keyword = hidden_keyword(part.name)
            if keyword is not None:
                raise InputError(
                    f"data.source {source!r}: {str(file)!r} contains {keyword!r}, but not as a word of its own, so its split is"
                    f" not known; rename it to {_RENAME}, or give --data {_quoted(Path(source, part))} if that is the"
                    " whole data set"
                )
    return split


def _by_split(source: str, path: Path, splits: dict[PurePath, Split | None]) -> tuple[SourceFile, ...]:
    files = []
    for file, split in splits.items():
        if split is None:
            raise InputError(
                f"data.source {source!r}: {str(file)!r} belongs to no split, but other files do; rename it to {_RENAME},"
                " or move it away"
            )
        files.append(SourceFile(path / file, split))
    if not any(file.split == "train" for file in files):
        raise InputError(f"data.source {source!r} has no training files: expected names such as train-*.parquet")
    return tuple(sorted(files, key=lambda file: SPLITS.index(file.split)))


def _require_one_configuration(source: str, files: list[PurePath]) -> None:
    """Refuse several data sets side by side: folders around the files that name no split differ."""
    configurations = {PurePath(*(part for part in file.parent.parts if split_of([part]) is None)) for file in files}
    if len(configurations) > 1:
        names = sorted(str(each) if each.parts else "(the folder itself)" for each in configurations)
        folders = [Path(source, each) for each in sorted(configurations) if each.parts]
        given = next((each for each in folders if each.expanduser().is_dir()), None)  # none where they lie within split folders
        remedy = f"give the folder of one, such as --data {_quoted(given)}" if given else "move the files of all but one away"
        raise InputError(f"data.source {source!r} holds {len(names)} data sets side by side: {listed(names, 5)}; {remedy}")


def _require_single_parts(source: str, files: list[PurePath]) -> None:
    """Refuse a part of a set that is there twice: a copy (``train-00000-of-00001 (1).parquet``), or
    another version."""
    parts: dict[tuple[PurePath, str], PurePath] = {}
    for file in files:
        named = _SHARD.match(file.name)
        if named is not None:
            first = parts.setdefault((file.parent, named[0]), file)
            if first != file:
                raise InputError(
                    f"data.source {source!r}: {str(first)!r} and {str(file)!r} are the same part of the set; move one away"
                )


def _visible_files(folder: Path) -> Iterator[str]:
    """Paths of all files below a folder, links followed (a Hugging Face cache consists of them),
    hidden ones left out.

    Raises:
        InputError: a Parquet file that is a link to nothing.
    """
    entered: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        entered.add(os.path.realpath(parent))
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(Path(parent, name)) not in entered  # links in a circle
        ]
        for path in (Path(parent, name) for name in files if not name.startswith(".")):
            if path.is_file():
                yield str(path)
            elif path.suffix.lower() == _ENDING:
                raise InputError(f"{path} is a link to nothing, images would be missing; fetch the file, or remove the link")


def _quoted(path: str | Path) -> str:
    """As a shell reads it."""
    return shlex.quote(str(path))


def _remedy(source: str, folder: Path) -> str:
    """What to do with a folder without Parquet files, by what it holds."""
    endings = Counter(Path(file).suffix.lower() or "without ending" for file in _visible_files(folder))
    if not endings:
        return ": it is empty"
    held = ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items(), key=lambda entry: (-entry[1], entry[0])))
    command = f"hmdc prepare {_quoted(source)} OUT"
    return f"; it holds files {held}. For images in a folder per class: {command}, then --data OUT"


def require_text(path: Path) -> None:
    """Refuse a path whose bytes are not UTF-8: it could be neither printed nor stored.

    Raises:
        InputError: the path is not UTF-8; it is shown with a question mark for each bad byte.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        readable = os.fsencode(path).decode(errors="replace").replace("\ufffd", "?")
        raise InputError(f"{readable}: the name is not UTF-8, rename it (convmv does so for whole folders)") from error
