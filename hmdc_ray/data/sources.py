"""Turn image folders, ``.npz`` files and torchvision's data sets into the Parquet files that runs read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hmdc_ray.data.arrays import TORCHVISION, read_npz, read_torchvision
from hmdc_ray.data.arrow_file import Progress
from hmdc_ray.data.cache import cache_folder
from hmdc_ray.data.encoded import EncodedImages, write_split
from hmdc_ray.data.image_folder import read_image_folder
from hmdc_ray.data.schema import Split
from hmdc_ray.errors import InputError

_PREFIX = "torchvision:"


def prepare(
    source: str, out: Path, *, root: Path | None = None, overwrite: bool = False, progress: Progress | None = None
) -> dict[Split, int]:
    """Write ``source`` as Parquet files, one per split, into the folder ``out``, which appears when it is complete.

    Args:
        source: an image folder (a folder per class; or ``train``, ``validation``, ``test`` with a folder per class each), an
            ``.npz`` file, or ``torchvision:NAME``.
        out: folder to write; its parents are made.
        root: folder of torchvision's raw files; None: in the user's cache folder. Other sources have no use for it.
        overwrite: replace ``out`` if it holds nothing but Parquet files.
        progress: called with (images done, images in all).

    Returns:
        The number of images written per split.

    Raises:
        InputError: bad source, ``out`` exists, or the disk is full or cannot be written.
    """
    out = out.expanduser().absolute()
    _check_out(out, overwrite)
    data = _read(source, root or cache_folder() / "torchvision")
    total, done = sum(len(part.labels) for part in data.splits.values()), 0

    def wrote(images: int) -> None:
        nonlocal done
        done += images
        if progress is not None:
            progress(done, total)

    partial = out.parent / f".{out.name}.{os.getpid()}.partial"
    aside = partial.with_suffix(".old")
    try:
        partial.mkdir(parents=True)
        for split in data.splits:
            write_split(partial, data, split, wrote)
        if out.exists():  # moved aside first, so that the old files are there until the new ones are
            out.rename(aside)
        partial.rename(out)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error}; choose a folder that can be written and has room") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {split: len(part.labels) for split, part in data.splits.items()}


def _check_out(out: Path, overwrite: bool) -> None:
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise InputError(f"{out} exists already: choose another folder, or replace it with --overwrite")
    if out.is_symlink() or not out.is_dir() or any(entry.suffix != ".parquet" or entry.is_dir() for entry in out.iterdir()):
        raise InputError(f"{out} is not a folder of nothing but Parquet files and is not overwritten; choose another folder")


def _read(source: str, root: Path) -> EncodedImages:
    if source.startswith(_PREFIX):
        return read_torchvision(source.removeprefix(_PREFIX), root)
    path = Path(source).expanduser()
    if path.is_dir():
        return read_image_folder(path)
    if path.is_file() and path.suffix == ".npz":
        return read_npz(path)
    problem = "is of no known kind" if path.exists() else "does not exist"
    known = ", ".join(_PREFIX + name for name in TORCHVISION)
    raise InputError(f"source {source!r} {problem}; give an image folder, an .npz file, or one of {known}")
