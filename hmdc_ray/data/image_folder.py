"""Images in folders named after their classes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from hmdc_ray.data.decode import decode, from_sixteen_bits, image_endings, is_deep, is_sixteen_bits, open_encoded, read_encoded
from hmdc_ray.data.encoded import EncodedImages, EncodedSplit, NamedImage, encode_png
from hmdc_ray.data.findings import Findings
from hmdc_ray.data.schema import SPLITS, Split
from hmdc_ray.data.split_names import hidden_keyword, split_of
from hmdc_ray.errors import InputError

_DECODING_THREADS = 2
_IMAGES_AHEAD = 32  # encoded images held in memory at a time; few, because each may be large


@dataclass(frozen=True)
class ReadingRules:
    """What to do with images that cannot be taken as they are.

    Attributes:
        skip_broken: leave out images that cannot be decoded, and count them; else they are errors.
        scale_16_bit: bring grey images of 16 bits to 8, 0 to 65,535 becoming 0 to 255; else they are errors.
        follow_links: read what links out of the folder lead to; else they are left out, and a class that is one is an error.
    """

    skip_broken: bool = False
    scale_16_bit: bool = False
    follow_links: bool = False


def read_image_folder(folder: Path, rules: ReadingRules | None = None) -> EncodedImages:
    """Images of ``folder/CLASS/...``, or of ``folder/SPLIT/CLASS/...``, every one decoded once to see that it is whole.

    A folder is a split if its name has a keyword of :mod:`hmdc_ray.data.split_names`. Files are taken for images by their
    content: by its ending a file is known only as an image that is broken. Hidden files are ignored; all others that are left
    out are counted in the findings.

    Args:
        folder: the folder.
        rules: see :class:`ReadingRules`.

    Raises:
        InputError: no class folders, split folders beside others, a class without training images, or, while images are
            read, one that is broken or has more than 8 bits a channel. Names the folder or file.
    """
    reader = _Reader(folder, rules or ReadingRules())
    roots = _split_roots(folder, reader.subfolders(folder))
    names = sorted({entry.name for _, root in roots for entry in reader.subfolders(root)})
    if not names:
        raise InputError(f"{folder}: no class folders; expected {folder.name}/CLASS/*.png or {folder.name}/train/CLASS/*.png")
    for root in {folder, *(root for _, root in roots)}:
        reader.count_stray_files(root)
    splits = {split: reader.read_split(root, split, names) for split, root in roots}
    return EncodedImages(tuple(names), splits, reader.findings)


def _split_roots(folder: Path, children: list[Path]) -> list[tuple[Split, Path]]:
    """The folders of the splits, or the folder itself as that of training images."""
    try:
        splits = [(split_of([child.name]), child) for child in children]
    except InputError as error:
        raise InputError(f"{folder}: folder {error}") from error
    named = [(split, child) for split, child in splits if split is not None]
    classes = [child.name for split, child in splits if split is None]
    if not named:
        keywords = [hidden_keyword(name) for name in classes]
        if all(keywords) and {"train", "training"} & {*keywords}:
            raise InputError(
                f"{folder}: folders {', '.join(classes)} contain names of splits, but not as words of their own; rename them to"
                " train, validation, test, or, if they are classes, put them into a folder train"
            )
        return [("train", folder)]
    if classes:
        raise InputError(
            f"{folder}: folders {', '.join(child.name for _, child in named)} name splits, but beside them are"
            f" {', '.join(classes)}; move these away, or, if all of them are classes, put all into a folder train"
        )
    for split in dict.fromkeys(split for split, _ in named):
        same = [other.name for each, other in named if each == split]
        if len(same) > 1:
            raise InputError(f"{folder}: folders {' and '.join(same)} are both {split} images; keep one of them")
    if "train" not in [split for split, _ in named]:
        raise InputError(f"{folder}: no folder of training images beside {', '.join(child.name for _, child in named)}")
    return sorted(named, key=lambda root: SPLITS.index(root[0]))


class _Reader:
    """Finds and reads the files of one image folder, and notes what it leaves out."""

    def __init__(self, folder: Path, rules: ReadingRules) -> None:
        self.findings = Findings()
        self._folder = folder
        self._within = folder.resolve()
        self._rules = rules

    def subfolders(self, folder: Path) -> list[Path]:
        """Folders of splits or classes, by name.

        Raises:
            InputError: one is a link out of the folder, or to nothing.
        """
        found = []
        for entry in _entries(folder):
            if entry.is_symlink() and not (entry.is_dir() and self._admits(entry)) and not entry.is_file():
                leads = "to nothing" if not entry.exists() else f"out of {self._folder}"
                raise InputError(
                    f"{entry} is a link {leads}, so that the images of {entry.name!r} would be missing:"
                    " put the folder in its place, or, if it may be read, give --follow-links"
                )
            if entry.is_dir():
                found.append(entry)
        return found

    def count_stray_files(self, folder: Path) -> None:
        """Note images that lie beside class folders and so belong to no class."""
        strays = [entry for entry in _entries(folder) if entry.is_file() and self._is_image(entry)]
        if strays:
            self.findings.left_out["images beside the class folders"] += len(strays)

    def read_split(self, root: Path, split: Split, names: list[str]) -> EncodedSplit:
        """The images of a split, class by class, still to be read.

        Raises:
            InputError: a class without training images.
        """
        paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            before = self.findings.left_out.copy()
            found = list(self._images(root / name, set())) if (root / name).is_dir() else []
            if not found and split == "train":
                left = self.findings.left_out - before
                held = f": it holds {', '.join(f'{count} {what}' for what, count in left.items())}" if left else ""
                raise InputError(f"{root / name}: class {name!r} has no training images{held}")
            paths += found
            labels += [label] * len(found)
        return EncodedSplit(np.array(labels, dtype=np.int64), self._read_all(paths))

    def _images(self, folder: Path, entered: set[Path]) -> Iterator[Path]:
        """Files with images in a folder and its subfolders, in the order of their names, files first."""
        entered = entered | {folder.resolve()}
        folders = []
        for entry in _entries(folder):
            if not entry.exists():
                self.findings.left_out["links to nothing"] += 1
            elif entry.is_symlink() and not self._admits(entry):
                self.findings.left_out["links out of the folder (--follow-links reads them)"] += 1
            elif entry.is_dir():
                folders.append(entry)
            elif not entry.is_file():  # a named pipe or a device would be waited for, or never end
                self.findings.left_out["pipes, devices or sockets"] += 1
            elif self._is_image(entry):
                yield entry
            else:
                self.findings.left_out[f"{entry.suffix.lower()} files" if entry.suffix else "files without ending"] += 1
        for entry in folders:
            if entry.resolve() in entered:
                self.findings.left_out["links to a folder around them"] += 1
            else:
                yield from self._images(entry, entered)

    def _admits(self, link: Path) -> bool:
        return self._rules.follow_links or link.resolve().is_relative_to(self._within)

    def _is_image(self, path: Path) -> bool:
        """Whether a file is, or is meant to be, an image."""
        if path.suffix.lower() in image_endings():
            return True
        try:
            open_encoded(read_encoded(path))
        except (OSError, InputError):
            return False
        return True

    def _read_all(self, paths: list[Path]) -> Iterator[NamedImage | None]:
        """Every image by its path in the folder; None for one that is skipped. A few are read and decoded ahead."""
        with ThreadPoolExecutor(_DECODING_THREADS) as pool:  # Pillow frees the interpreter while it decodes
            left = iter(paths)
            while group := list(islice(left, _IMAGES_AHEAD)):
                for path, read in zip(group, pool.map(self._read, group), strict=True):
                    yield self._noted(path, read)

    def _noted(self, path: Path, read: _Read) -> NamedImage | None:
        name = path.relative_to(self._folder).as_posix()
        self.findings.treated.update(read.treated)
        if read.encoded is not None:
            return name, read.encoded
        if read.is_broken and self._rules.skip_broken:
            self.findings.skip(name, read.problem)
            return None
        hint = "; --skip-broken leaves such images out" if read.is_broken else ""
        raise InputError(f"{path}: {read.problem}{hint}")

    def _read(self, path: Path) -> _Read:
        try:
            encoded = read_encoded(path)
            image = open_encoded(encoded)
            if is_deep(image):
                return self._scaled(image)
            decode(image)
        except OSError as error:
            return _Read(problem=f"cannot be read: {error.strerror or error}")
        except InputError as error:
            return _Read(problem=str(error))
        treated = []
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # whose further images are previews
            treated.append("files of several frames or pages, of which the first is read")
        if image.has_transparency_data:
            treated.append("images with transparency, which is dropped")
        return _Read(encoded, treated)

    def _scaled(self, image: Image.Image) -> _Read:
        if self._rules.scale_16_bit and is_sixteen_bits(image):
            return _Read(encode_png(from_sixteen_bits(image)), ["images of 16 bits, scaled from 0 to 65,535 to 0 to 255"])
        problem = f"image has mode {image.mode!r} with more than 8 bits a channel; store it as 8-bit grey or colour"
        hint = ", or give --scale-16-bit, which brings 0 to 65,535 to 0 to 255" if is_sixteen_bits(image) else ""
        return _Read(problem=problem + hint, is_broken=False)


@dataclass(frozen=True)
class _Read:
    """One file: its encoded image, or why there is none; and how the image was treated."""

    encoded: bytes | None = None
    treated: Sequence[str] = ()
    problem: str = ""
    is_broken: bool = True


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, by name; hidden entries are ignored."""
    try:
        return [Path(folder, name) for name in sorted(os.listdir(folder)) if not name.startswith(".")]  # noqa: PTH208
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror or error}") from error
