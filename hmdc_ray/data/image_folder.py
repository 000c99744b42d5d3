"""Images in folders named after their classes."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hmdc_ray.data.ahead import map_ahead
from hmdc_ray.data.decode import (
    decode,
    from_sixteen_bits,
    has_deep_colour,
    has_more_frames,
    image_endings,
    is_deep,
    is_sixteen_bits,
    open_encoded,
    read_encoded,
)
from hmdc_ray.data.encoded import EncodedImages, EncodedSplit, Findings, NamedImage, encode_png
from hmdc_ray.data.files import require_text
from hmdc_ray.data.schema import SPLITS, Split
from hmdc_ray.data.split_names import KEYWORDS, hidden_keyword, split_of
from hmdc_ray.errors import InputError, listed

_IMAGES_AHEAD = 32  # encoded images held in memory at a time; few, because each may be large


@dataclass(frozen=True)
class ReadingRules:
    """What to do with images that cannot be used as they are.

    Attributes:
        skip_broken: whether images that cannot be decoded are left out and counted; else they are
            errors.
        scale_16_bit: whether grey images of 16 bits are scaled to 8, 0 to 65,535 becoming 0 to 255;
            else they are errors.
        follow_links: whether links out of the folder are followed; else they are left out, and a
            class that is one is an error.
    """

    skip_broken: bool = False
    scale_16_bit: bool = False
    follow_links: bool = False


def read_image_folder(folder: Path, rules: ReadingRules | None = None) -> EncodedImages:
    """Images of ``folder/CLASS/...``, or of ``folder/SPLIT/CLASS/...``, every one decoded once to
    see that it is whole.

    A folder is a split if its name has a keyword of :mod:`hmdc_ray.data.split_names`. Images are
    recognised by their content; the ending of a file only shows that a broken one was meant to be
    an image. Hidden files are ignored; all others that are left out are counted in the findings.

    Args:
        folder: folder that holds the classes or splits.
        rules: treatment of images that cannot be used as they are; None: the defaults.

    Raises:
        InputError: no class folders, split folders beside others or within classes, a class without
            training images, a name that is not UTF-8, or, while images are read, one that is broken
            or has more than 8 bits a channel. Names the folder or file.
    """
    reader = _Reader(folder, rules or ReadingRules())
    roots = _split_roots(folder, reader.subfolders(folder))
    classes = {split: reader.classes(root) for split, root in roots}
    names = sorted({name for folders in classes.values() for name in folders})
    if not names:
        raise InputError(f"{folder}: no class folders; expected {folder.name}/CLASS/*.png or {folder.name}/train/CLASS/*.png")
    for root in {folder, *(root for _, root in roots)}:
        reader.count_stray_files(root)
    splits = {split: reader.read_split(root, split, classes[split], names) for split, root in roots}
    for split, root in roots:
        if not len(splits[split].labels):
            reader.findings.taken += (f"there are no {split} images: folder {root.name!r} holds none in class folders",)
            del splits[split]
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
        hidden = _hidden_splits(classes)
        if hidden:
            raise InputError(
                f"{folder}: folders {listed(hidden)} contain names of splits, but not as words of their own; rename them to"
                " train, validation, test, or, if all folders are classes, put all into a folder train"
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
    if len({child.resolve() for _, child in named}) < len(named):
        raise InputError(f"{folder}: {', '.join(child.name for _, child in named)} lead to the same folder; remove the link")
    if "train" not in [split for split, _ in named]:
        raise InputError(f"{folder}: no folder of training images beside {', '.join(child.name for _, child in named)}")
    return sorted(named, key=lambda root: SPLITS.index(root[0]))


def _hidden_splits(names: list[str]) -> list[str]:
    """Names that are probably splits: they differ by a keyword within a word alone (``trainset``,
    ``testset``), or all of the names contain one, that of training images among them."""
    hidden = {name: keyword for name in names if (keyword := hidden_keyword(name)) is not None}
    splits: dict[str, set[Split]] = {}
    for name, keyword in hidden.items():
        splits.setdefault(name.casefold().replace(keyword, ""), set()).add(KEYWORDS[keyword])
    differ_by_it_alone = any(len(each) > 1 for each in splits.values())
    every_one = len(hidden) == len(names) and any("train" in each for each in splits.values())
    return list(hidden) if differ_by_it_alone or every_one else []


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
                leads, also = f"out of {self._folder}", ", or, if it may be read, give --follow-links"
                if not entry.exists():
                    leads, also = "to nothing", ", or remove the link"
                raise InputError(
                    f"{entry} is a link {leads}, so that the images of {entry.name!r} would be missing:"
                    f" put the folder in its place{also}"
                )
            if entry.is_dir():
                found.append(entry)
        return found

    def classes(self, root: Path) -> dict[str, Path]:
        """Class folders by the names of the classes, in Unicode's composed form: systems write é in
        two ways.

        Raises:
            InputError: see :meth:`subfolders`; two folders of one name.
        """
        classes: dict[str, Path] = {}
        for entry in self.subfolders(root):
            name = unicodedata.normalize("NFC", entry.name)
            if name in classes:
                raise InputError(f"{root}: two folders are called {name!r}, spelt with other Unicode characters; keep one")
            classes[name] = entry
        return classes

    def count_stray_files(self, folder: Path) -> None:
        """Note images that lie beside class folders and so belong to no class."""
        strays = [entry for entry in _entries(folder) if entry.is_file() and self._is_image(entry)]
        if strays:
            self.findings.left_out["images beside the class folders"] += len(strays)

    def read_split(self, root: Path, split: Split, classes: dict[str, Path], names: list[str]) -> EncodedSplit:
        """The images of a split, class by class, still to be read.

        Args:
            root: folder of the split.
            split: split that the folder holds.
            classes: its class folders, by name.
            names: class names of all splits, in label order.

        Raises:
            InputError: a class without training images; folders that are probably splits, or the
                classes, within a class.
        """
        paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            before = self.findings.left_out.copy()
            found = list(self._images(classes[name], split, set())) if name in classes else []
            if not found and split == "train":
                left = self.findings.left_out - before
                held = f": it holds {', '.join(f'{count} {what}' for what, count in left.items())}" if left else ""
                raise InputError(
                    f"{classes.get(name, root / name)}: class {name!r} has no training images{held};"
                    f" add some, or remove the folders of that name{_another_case(name, names)}"
                )
            if len(names) == 1 and found:
                _require_images_of_its_own(root, classes[name], found)
            paths += found
            labels += [label] * len(found)
        return EncodedSplit(np.array(labels, dtype=np.int64), self._read_all(paths))

    def _images(self, folder: Path, split: Split, entered: set[Path]) -> Iterator[Path]:
        """Files with images in a folder and its subfolders, in the order of their names, files
        first.

        Raises:
            InputError: the name of a subfolder says another split than ``split``.
        """
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
                self._require_no_other_split(entry, split)
                yield from self._images(entry, split, entered)

    def _require_no_other_split(self, folder: Path, split: Split) -> None:
        """Refuse to read test images, by the name of a folder within a class, as training
        images."""
        try:
            named = split_of([folder.name])
        except InputError as error:
            raise InputError(f"{folder.parent}: folder {error}") from error
        if named not in (None, split):
            raise InputError(
                f"{folder}: the name says {named} images, but this is a folder within a class of {split} images; if"
                f" {folder.parent} holds a folder per split, and these a folder per class, give {folder.parent}; else put the"
                f" images into {self._folder}/train/CLASS and {self._folder}/{named}/CLASS"
            )

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
        """Every image by its path in the folder; None for one that is skipped. A few are read and
        decoded ahead."""
        for path, read in zip(paths, map_ahead(self._read, paths, ahead=_IMAGES_AHEAD), strict=True):
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
            deep_colour = has_deep_colour(image)
            decode(image)
        except OSError as error:
            return _Read(problem=f"cannot be read: {error.strerror or error}")
        except InputError as error:
            return _Read(problem=str(error))
        treated = []
        if has_more_frames(image):
            treated.append("files of several frames or pages, of which the first is read")
        if deep_colour:
            treated.append("images of 16 bits a channel, of which the upper 8 are read")
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


def _another_case(name: str, names: list[str]) -> str:
    other = next((each for each in names if each != name and each.casefold() == name.casefold()), None)
    return "" if other is None else f"; there is a class {other!r} too: if they are one, rename the folders alike"


def _require_images_of_its_own(root: Path, folder: Path, found: list[Path]) -> None:
    """Refuse a single class whose images are all in folders within it: these are the classes, one
    level too deep."""
    if all(path.parent != folder for path in found):
        inner = sorted({path.relative_to(folder).parts[0] for path in found})
        raise InputError(
            f"{root}: the only class folder is {folder.name!r}, with its images in folders {listed(inner)}; if these are the"
            f" classes, move them into {root}"
        )


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, by name; hidden entries are ignored.

    Raises:
        InputError: it cannot be read, or holds a name that is not UTF-8.
    """
    try:
        entries = [Path(folder, name) for name in sorted(os.listdir(folder)) if not name.startswith(".")]  # noqa: PTH208
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror or error}") from error
    for entry in entries:
        require_text(entry)
    return entries
