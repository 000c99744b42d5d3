"""From what a file holds and what the user states to a checked condensed set, with a record of what
was assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config.statistics import KNOWN, Statistics
from hmdc_ray.data.label_arrays import class_numbers, without_images
from hmdc_ray.data.packing import check_formation_range
from hmdc_ray.errors import InputError, listed
from hmdc_ray.interchange.declared import FileContents, ImportOptions
from hmdc_ray.interchange.labels import read_labels

_T = TypeVar("_T")

# Pixels, 0 to 1 in theory. Published images in pixel scale leave it by the last steps' size;
# normalised ones, which nothing clips, were seen from -0.7 to 2.6. Values 0 to 255 that are taken
# for normalised come to 40 and more.
_PIXEL_LIMITS = (-0.5, 1.5)
_NORMALISED_LIMITS = (-9.0, 10.0)


@dataclass(frozen=True)
class Imported:
    """A set from a foreign file.

    Attributes:
        condensed: the set.
        assumed: lines for the user on what was found and how it was read.
    """

    condensed: CondensedSet
    assumed: str


def assemble(path: Path, found: FileContents, stated: ImportOptions) -> Imported:
    """Check the parts against each other and against what the user states, and normalise images in
    pixel scale.

    Raises:
        InputError: something is missing, contradicts, or cannot be, such as values far outside of
            the scale.
    """
    metadata = found.metadata
    images = _checked_images(found.images)
    scale = _settled("--scale", stated.scale, found.scale, "normalised")
    formation = _formation(found, stated)
    mean, std = _statistics(found, stated, images.shape[1])
    given = _labels(found, stated, len(images))
    classes = _classes(given, found, stated)
    labels, names = classes.labels, classes.names
    if metadata is None:
        _check_scale(images, scale, mean, std)
    if scale == "pixel":
        images = (images - images.new_tensor(mean).view(-1, 1, 1)) / images.new_tensor(std).view(-1, 1, 1)
    if metadata is not None:
        condensed = metadata.restore(images, labels)
    else:
        condensed = CondensedSet(images, labels, names, mean, std, formation, decoding=found.decoding)
    count, channels, height, width = images.shape
    size = f"{count} images of {channels}x{height}x{width}, {len(names)} classes"
    taken = [
        f"{'normalised with' if scale == 'normalised' else 'pixels, to be normalised with'} {_shown(mean, std)}",
        f"f {formation}",
        f"labels of {given.source}",
        f"classes {', '.join(names[:3])}{', ..' if len(names) > 3 else ''}",
    ]
    head = f"{path}: {size}{found.origin and '; ' + found.origin}"
    lines = [head, f"taken as {'; '.join(taken)}", *found.notes, *given.notes, classes.note]
    return Imported(condensed, "\n".join(filter(None, lines)))


def _settled(flag: str, stated: _T | None, known: _T | None, default: _T) -> _T:
    if stated is None:
        return default if known is None else known
    if known is not None and stated != known:
        raise InputError(f"{flag} is {stated!r}, but the file or its format says {known!r}: leave out {flag}")
    return stated


def _formation(found: FileContents, stated: ImportOptions) -> int:
    """The factor, which must divide the images unless the code that packed them cuts others too."""
    known = found.metadata.formation if found.metadata else found.formation
    factor = _settled("--formation", stated.formation, known, 1)
    field = "f of the file" if stated.formation is None else "--formation"
    check_formation_range(factor, field)
    height, width = found.images.shape[2:]
    if not found.metadata and found.decoding == "aligned" and (height % factor or width % factor):
        raise InputError(
            f"{field} is {factor}, which does not divide the image size {height}x{width}: "
            "only IDC's code packs such images (--format idc)"
        )
    return factor


def _checked_images(images: Tensor) -> Tensor:
    """The images, float32 (N, C, H, W), if that is what they are meant to be."""
    if images.ndim != 4 or images.numel() == 0:
        raise InputError(f"images have shape {list(images.shape)}, must be N x C x H x W, at least one")
    if not images.is_floating_point():
        raise InputError(
            f"images are {images.dtype}, must be floating point, normalised or in pixel scale 0 to 1 "
            "(--format tensors, npz and safetensors read uint8, pixels 0 to 255)"
        )
    return images.float().contiguous()


def _statistics(found: FileContents, stated: ImportOptions, channels: int) -> Statistics:
    known = (found.metadata.mean, found.metadata.std) if found.metadata else None
    statistics = known or stated.statistics
    if statistics is None:
        raise InputError(f"a file does not name its data set: give --statistics, {', '.join(KNOWN)}, or MEAN,..:STD,..")
    mean, std = statistics
    if not len(mean) == len(std) == channels:
        raise InputError(f"statistics {_shown(mean, std)} are for {len(mean)} channels, but images have {channels}")
    if known and stated.statistics and not _close(known, stated.statistics):
        raise InputError(f"--statistics are {_shown(*stated.statistics)}, but the file says {_shown(*known)}: leave them out")
    return statistics


def _close(ours: Statistics, theirs: Statistics) -> bool:
    return all(
        len(left) == len(right) and all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(left, right, strict=True))
        for left, right in zip(ours, theirs, strict=True)
    )


@dataclass(frozen=True)
class _Labels:
    """Labels as the file or the user gives them.

    Attributes:
        numbers: class indices, int64 (N,).
        classes: number of classes, where the labels say it.
        source: name of the place that they are from.
        notes: lines on how they were read.
    """

    numbers: Tensor
    classes: int | None
    source: str
    notes: tuple[str, ...]


def _labels(found: FileContents, stated: ImportOptions, count: int) -> _Labels:
    if found.labels is not None and stated.labels is not None:
        raise InputError(f"--labels is {stated.labels}, but the file has labels: leave out --labels")
    if found.labels is not None:
        labels, source = found.labels, "the file"
    elif stated.labels is not None:
        labels, source = read_labels(stated.labels), str(stated.labels)
    else:
        raise InputError("there are no labels in the file: give --labels FILE, written by torch.save or numpy.save")
    read = class_numbers(labels)
    if len(read.labels) != count:
        raise InputError(f"labels are {len(read.labels)}, must be one for each of {count} images")
    notes = (read.note,) if read.note else ()
    return _Labels(torch.from_numpy(read.labels), read.classes or found.classes, source, notes)


@dataclass(frozen=True)
class _Classes:
    """Class names, labels that count them, and a line on where they are from: empty where names
    were given for all."""

    names: tuple[str, ...]
    labels: Tensor
    note: str


def _classes(labels: _Labels, found: FileContents, stated: ImportOptions) -> _Classes:
    """Names decide how many classes there are; without names what the labels say; else the highest
    label."""
    numbers = labels.numbers
    if found.metadata is not None:
        names = _settled("--class-names", stated.class_names, found.metadata.class_names, ())
        return _Classes(names, numbers, without_images(numbers.tolist(), names))
    if found.class_names is not None:
        names = stated.class_names or found.class_names
        numbers = _renumbered(numbers, found.class_names, names)
        return _Classes(names, numbers, without_images(numbers.tolist(), names))
    least, highest = int(numbers.max()) + 1, int(numbers.argmax())
    if stated.class_names is None:
        names = tuple(map(str, range(max(least, labels.classes or 0))))
        absent = without_images(numbers.tolist(), names)
        if labels.classes is None:
            absent = f"{'; '.join(filter(None, [_counted(len(names)), absent]))}; give --class-names if there are more"
        return _Classes(names, numbers, absent)
    names = stated.class_names
    given = f"--class-names are {listed(names)}: {len(names)} names, but"
    if labels.classes is not None and len(names) != labels.classes:
        raise InputError(f"{given} the file has {labels.classes} classes")
    if len(names) < least:
        raise InputError(f"{given} label of row {highest} is {least - 1}, so that there are at least {least} classes")
    return _Classes(names, numbers, without_images(numbers.tolist(), names))


def _counted(classes: int) -> str:
    return f"{classes} class{'es' if classes > 1 else ''}, from the highest label"


def _renumbered(numbers: Tensor, old: tuple[str, ...], new: tuple[str, ...]) -> Tensor:
    """Labels (N,) that count the names ``new`` instead of ``old``, which are among them."""
    missing = [name for name in old if new.count(name) != 1]
    if missing:
        raise InputError(
            f"--class-names are {listed(new)}, but the file says {listed(old)}: name each of its classes once, such as "
            f"{missing[0]!r}, or leave out --class-names"
        )
    return torch.tensor([new.index(name) for name in old])[numbers]


def _check_scale(images: Tensor, scale: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Refuse images (N, C, H, W) whose values do not fit the scale."""
    if not images.isfinite().all():
        return  # the set itself says in which row
    low, high = float(images.min()), float(images.max())
    if scale == "pixel":
        if low < _PIXEL_LIMITS[0] or high > _PIXEL_LIMITS[1]:
            raise InputError(f"images range from {low:.4g} to {high:.4g}, but scale 'pixel' is 0 to 1: is it 'normalised'?")
        return
    if low >= 0 and high <= 1:
        raise InputError(
            f"images range from {low:.4g} to {high:.4g}, as pixels do, but are stated to be normalised: "
            "is --scale pixel meant (with --format tensors)?"
        )
    pixels = images * images.new_tensor(std).view(-1, 1, 1) + images.new_tensor(mean).view(-1, 1, 1)
    if pixels.min() < _NORMALISED_LIMITS[0] or pixels.max() > _NORMALISED_LIMITS[1]:
        raise InputError(
            f"images range from {low:.4g} to {high:.4g}, too far for normalised ones, whose pixels are about 0 to 1: "
            "values 0 to 255 must be divided by 255, others need their own --statistics"
        )


def _shown(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    return ":".join(",".join(f"{value:.4g}" for value in values) for values in (mean, std))
