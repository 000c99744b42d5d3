"""Synthetic images that start from those of a condensed set: ``images.initialise: set:FILE``.

Shapes: K classes, I stored images per class, C x H x W an image.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hmdc_ray.condensed import FILE_NAME, CondensedSet, load_condensed
from hmdc_ray.config import ImagesConfig, RunConfig
from hmdc_ray.data.packing import Decoding
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.messages import Array
from hmdc_ray.models.normalisation import Normalisation, channel_map
from hmdc_ray.models.precision import storage_dtype

TOLERANCE = 1e-4
"""Part by which the set's mean and std may differ from the data's for its images to be taken bit for bit."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialSet:
    """What synthetic images start from.

    Attributes:
        images_KICHW: in the order of the data's classes, normalised as the data; float32, or float64 where they had to be
            normalised anew.
        before: how the file's images are normalised, where that is another way; None: they are taken bit for bit.
        decoding: how the file's tiles became training images; the run decodes them with corners aligned.
    """

    images_KICHW: Tensor
    before: Normalisation | None
    decoding: Decoding


def read_initial_set(images: ImagesConfig, info: DatasetInfo) -> InitialSet | None:
    """Read the set that ``images.initialise`` names; None where it names none.

    Classes are matched by their names. Images that are normalised in another way than the data are normalised anew, so that
    their pixels stay.

    Raises:
        InputError: the file is missing or broken; or it has other classes than the data, another image shape, another
            formation than ``images.formation``, or not ``images.ipc`` images of every class.
    """
    if images.initial_set is None:
        return None
    try:
        condensed = load_condensed(Path(images.initial_set).expanduser())
        order = _class_order(condensed, info)
        _check_sizes(condensed, images, info)
    except InputError as error:
        raise InputError(f"images.initialise is {images.initialise!r}: {error}") from error
    images_KICHW = torch.stack([condensed.images[condensed.labels == label] for label in order])
    if condensed.normalisation.is_close(info.normalisation, TOLERANCE):
        return InitialSet(images_KICHW, None, condensed.decoding)
    found = channel_map(condensed.normalisation, info.normalisation)
    assert found is not None, "what is not close is not equal"
    factor_C11, shift_C11 = found
    return InitialSet(images_KICHW.double() * factor_C11 + shift_C11, condensed.normalisation, condensed.decoding)


def initial_images(config: RunConfig, info: DatasetInfo) -> Array | None:
    """Images of the set to start from, (K, I, C, H, W), in the run's number format; None where the main member makes them.

    Raises:
        InputError: see :func:`read_initial_set`.
    """
    found = read_initial_set(config.images, info)
    if found is None:
        return None
    for note in describe(found, info):
        _logger.warning("images.initialise is %r: %s", config.images.initialise, note)
    return found.images_KICHW.to(storage_dtype(config.matching.precision)).numpy()


def describe(found: InitialSet, info: DatasetInfo) -> list[str]:
    """What is done with images that are normalised, or were decoded, in another way than the run's: a line each."""
    notes = []
    if found.before is not None:
        own = info.normalisation
        notes.append(f"its images, normalised by {found.before}, are normalised anew by the data's {own}; their pixels stay")
    if found.decoding != "aligned":
        notes.append("its tiles were enlarged with corners not aligned, as IDC's code does; this run aligns corners")
    return notes


def require_apart(images: ImagesConfig, folder: Path) -> None:
    """Refuse to start from the set whose place the run's own will take: the run could not be resumed or repeated.

    Raises:
        InputError: it is the one in the run's folder.
    """
    if images.initial_set is None:
        return
    place, own = Path(images.initial_set).expanduser().resolve(), folder.resolve()
    if place in (own, own / FILE_NAME):
        raise InputError(
            f"images.initialise is {images.initialise!r}, the set in the run's own folder {folder}, whose place this run's "
            "images take: choose another --output"
        )


def _class_order(condensed: CondensedSet, info: DatasetInfo) -> list[int]:
    """The set's label for each of the data's classes."""
    ours, theirs = info.class_names, condensed.class_names
    if ours == theirs:
        return list(range(len(ours)))
    if sorted(ours) == sorted(theirs) and len(set(ours)) == len(ours):
        return [theirs.index(name) for name in ours]
    without = [name for name in ours if name not in theirs] or [name for name in theirs if name not in ours]
    reason = f"class {without[0]!r} is in one of them only" if without else "class names are given twice"
    raise InputError(
        f"the set has {len(theirs)} classes, data {info.source!r} has {len(ours)}, and {reason}: must be the same names, "
        "in any order"
    )


def _check_sizes(condensed: CondensedSet, images: ImagesConfig, info: DatasetInfo) -> None:
    shape = "x".join(map(str, condensed.images.shape[1:]))
    if shape != str(info.shape):
        raise InputError(
            f"the set has images of {shape}, data {info.source!r} of {info.shape}: set data.channels and data.image_size to "
            "the set's"
        )
    if condensed.formation != images.formation:
        raise InputError(
            f"the set has formation {condensed.formation}, but images.formation is {images.formation}: "
            f"set images.formation={condensed.formation}"
        )
    fewest, most = condensed.class_counts().min(), condensed.class_counts().max()
    if fewest != most:
        raise InputError(f"the set has {fewest} to {most} images of a class: must have images.ipc {images.ipc} of each")
    if most != images.ipc:
        raise InputError(f"the set has {most} images of a class, but images.ipc is {images.ipc}: set images.ipc={most}")
