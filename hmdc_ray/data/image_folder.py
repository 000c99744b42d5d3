"""Images in folders named after their classes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hmdc_ray.data.decode import open_encoded, read_encoded
from hmdc_ray.data.encoded import EncodedImages, EncodedSplit, NamedImage
from hmdc_ray.data.schema import Split
from hmdc_ray.errors import InputError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"})
"""Endings, in any case, of the files taken as images."""

_SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
_log = logging.getLogger(__name__)


def read_image_folder(folder: Path) -> EncodedImages:
    """Images of ``folder/CLASS/...``, or of ``folder/train/CLASS/...`` with ``validation`` and ``test`` beside ``train``.

    Bytes are kept as they are. Hidden files are ignored; links to folders, and to files outside ``folder``, are not followed.

    Raises:
        InputError: no class folders, a class without training images, or, while images are read, a file that is none.
    """
    children = _subfolders(folder)
    if "train" in [child.name for child in children] and all(child.name in _SPLIT_FOLDERS for child in children):
        roots = [(_SPLIT_FOLDERS[child.name], child) for child in children]
    else:
        roots = [("train", folder)]
    if len({split for split, _ in roots}) < len(roots):
        raise InputError(f"{folder}: more than one folder of validation images; keep one of validation, valid, val")
    names = sorted({entry.name for _, root in roots for entry in _subfolders(root)})
    if not names:
        raise InputError(f"{folder}: no class folders; expected {folder.name}/CLASS/*.png or {folder.name}/train/CLASS/*.png")
    return EncodedImages(tuple(names), {split: _read_split(folder, root, split, names) for split, root in roots})


def _read_split(folder: Path, root: Path, split: Split, names: list[str]) -> EncodedSplit:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = list(_image_files(root / name, folder.resolve()))
        if not found and split == "train":
            raise InputError(
                f"{root / name}: class {name!r} has no training images; endings are {', '.join(sorted(EXTENSIONS))}"
            )
        paths += found
        labels += [label] * len(found)
    return EncodedSplit(np.array(labels, dtype=np.int64), (_read(path, folder) for path in paths))


def _subfolders(folder: Path) -> list[Path]:
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith(".") and not entry.is_symlink())
    return sorted(entry for entry in entries if entry.is_dir())


def _image_files(folder: Path, within: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if name.startswith(".") or path.suffix.lower() not in EXTENSIONS or not path.is_file():
                continue  # a named pipe or a device would be waited for, or never end
            if path.resolve().is_relative_to(within):
                yield path
            else:
                _log.warning("%s is a link out of the folder and is left out", path)


def _read(path: Path, folder: Path) -> NamedImage:
    try:
        encoded = read_encoded(path)
        open_encoded(encoded)
    except (OSError, InputError) as error:
        raise InputError(f"{path}: {error}") from error
    return path.relative_to(folder).as_posix(), encoded
