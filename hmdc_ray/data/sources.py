"""Turn image folders, ``.npz`` and ``.pt`` files and torchvision's data sets into the Parquet files
that runs read."""

from __future__ import annotations

import os
import shlex
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmdc_ray.data.arrays import TORCHVISION, read_npz, read_pt, read_torchvision
from hmdc_ray.data.arrow_file import Progress
from hmdc_ray.data.cache import cache_folder
from hmdc_ray.data.encoded import TORCHVISION_PREFIX, EncodedImages, open_writer, write_findings, write_split
from hmdc_ray.data.image_folder import ReadingRules, read_image_folder
from hmdc_ray.data.schema import Split
from hmdc_ray.errors import InputError


@dataclass(frozen=True)
class Prepared:
    """What was written.

    Attributes:
        class_names: one name per label, in label order.
        counts: number of images of each class, (K,), by split.
        notes: lines on what was left out and why, and on what was assumed.
    """

    class_names: tuple[str, ...]
    counts: dict[Split, tuple[int, ...]]
    notes: tuple[str, ...]

    @property
    def sizes(self) -> dict[Split, int]:
        """Number of images by split."""
        return {split: sum(counts) for split, counts in self.counts.items()}


def prepare(
    source: str,
    out: Path,
    *,
    root: Path | None = None,
    rules: ReadingRules | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Write ``source`` as Parquet files, one per split, into the folder ``out``, which appears when
    it is complete.

    Every image is decoded once, so that a run finds none that is broken.

    Args:
        source: an image folder (a folder per class; or folders named after splits, with a folder
            per class each), an ``.npz`` file, a ``.pt`` file of ``torch.save``, or
            ``torchvision:NAME``.
        out: folder to write; its parents are made.
        root: folder of torchvision's raw files; None: in the user's cache folder. Other sources
            have no use for it.
        rules: treatment of images in a folder that cannot be used as they are.
        overwrite: whether to replace ``out`` if it holds nothing but Parquet files.
        progress: callback that gets (images done, images in all).

    Raises:
        InputError: bad source, ``out`` exists, or the disk is full or cannot be written; a class of
            which every training image was skipped.
    """
    out = out.expanduser().absolute()
    _check_out(out, overwrite)
    data = _read(source, root, rules)
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
        with ExitStack() as files:
            writers = {split: files.enter_context(open_writer(partial, data, split)) for split in data.splits}
            counts = {split: write_split(writer, data, split, wrote) for split, writer in writers.items()}
            for writer in writers.values():
                write_findings(writer, data, source)
        _require_every_class(source, data, counts["train"].tolist())
        if out.exists():  # moved aside first, so that the old files are there until the new ones are
            out.rename(aside)
        partial.rename(out)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error}; choose a folder that can be written and has room") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Prepared(data.class_names, {split: tuple(each.tolist()) for split, each in counts.items()}, data.findings.lines())


def _require_every_class(source: str, data: EncodedImages, counts: list[int]) -> None:
    asked = np.bincount(data.splits["train"].labels, minlength=len(counts))
    for name, count, were in zip(data.class_names, counts, asked.tolist(), strict=True):
        if were and not count:
            raise InputError(f"{source}: class {name!r} has no whole training image, all {were} are broken; remove its folder")


def _check_out(out: Path, overwrite: bool) -> None:
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise InputError(f"{out} exists already: choose another folder, or replace it with --overwrite")
    if out.is_symlink() or not out.is_dir() or any(entry.suffix != ".parquet" or entry.is_dir() for entry in out.iterdir()):
        raise InputError(f"{out} is not a folder of nothing but Parquet files and is not overwritten; choose another folder")


def _read(source: str, root: Path | None, rules: ReadingRules | None) -> EncodedImages:
    if source.startswith(TORCHVISION_PREFIX):
        return read_torchvision(source.removeprefix(TORCHVISION_PREFIX), root or cache_folder() / "torchvision")
    path = Path(source).expanduser()
    if path.is_dir():
        try:
            return read_image_folder(path, rules)
        except InputError as error:
            if next(path.rglob("*.parquet"), None) is None:
                raise
            raise InputError(f"{error}. For Parquet files: {_as_they_are(source)}") from error
    if path.is_file() and path.suffix.lower() == ".npz":
        return read_npz(path)
    if path.is_file() and path.suffix.lower() in (".pt", ".pth"):
        return read_pt(path)
    if path.is_file() and path.suffix.lower() == ".parquet":
        raise InputError(f"source {source!r} is a Parquet file: {_as_they_are(source)}")
    problem = "is of no known kind" if path.exists() else "does not exist"
    known = ", ".join(TORCHVISION_PREFIX + name for name in TORCHVISION)
    raise InputError(f"source {source!r} {problem}; give an image folder, an .npz or .pt file, or one of {known}")


def _as_they_are(source: str) -> str:
    return f"runs read them as they are, with --data {shlex.quote(source)}"
