"""Synthetic images that start from those of a condensed set: ``images.initialise: set:FILE``.

Shapes: K classes, I stored images per class, C x H x W an image.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hmdc_ray.condensed import CondensedSet, load_condensed
from hmdc_ray.config import ImagesConfig, RunConfig
from hmdc_ray.config.io import CONDENSED_FILE
from hmdc_ray.data.packing import Decoding
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.messages import Array
from hmdc_ray.models.normalisation import Normalisation, channel_map
from hmdc_ray.models.precision import storage_dtype

TOLERANCE = 1e-4
"""Relative difference of the set's mean and std from the data's up to which its images are taken
bit for bit."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialSet:
    """Images of a condensed set, from which synthetic images start.

    Attributes:
        images_KICHW: images in the order of the data's classes, normalised as the data; float64 if
            normalised anew.
        before: normalisation of the file's images if it differs from the data's; None: they are
            taken bit for bit.
        decoding: decoding of the file's tiles into training images; the run decodes with corners
            aligned.
    """

    images_KICHW: Tensor
    before: Normalisation | None
    decoding: Decoding


def read_initial_set(images: ImagesConfig, info: DatasetInfo) -> InitialSet | None:
    """Read the set that ``images.initialise`` names; None where it names none.

    Classes are matched by name. Images whose normalisation differs from the data's are normalised
    anew: pixels stay.

    Raises:
        InputError: the file is missing or broken; or its classes, image shape or formation differ
            from those of the data and of ``images.formation``; or it does not have ``images.ipc``
            images of every class.
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
    # (pixels - mean') / std' with pixels = images * std + mean: one affine map per channel.
    factor_C11, shift_C11 = found
    return InitialSet(images_KICHW.double() * factor_C11 + shift_C11, condensed.normalisation, condensed.decoding)


def initial_images(config: RunConfig, info: DatasetInfo) -> Array | None:
    """Images of the set to start from, (K, I, C, H, W), in the run's number format; None if the
    main member makes them.

    Raises:
        InputError: the set cannot be read or does not fit, as for :func:`read_initial_set`.
    """
    found = read_initial_set(config.images, info)
    if found is None:
        return None
    for note in describe(found, info):
        _logger.warning("images.initialise is %r: %s", config.images.initialise, note)
    return found.images_KICHW.to(storage_dtype(config.matching.precision)).numpy()


def describe(found: InitialSet, info: DatasetInfo) -> list[str]:
    """Notes, one line each, on images whose normalisation or decoding differs from the run's."""
    notes = []
    if found.before is not None:
        own = info.normalisation
        notes.append(f"its images, normalised by {found.before}, are normalised anew by the data's {own}; their pixels stay")
    if found.decoding != "aligned":
        notes.append("its tiles were enlarged with corners not aligned, as IDC's code does; this run aligns corners")
    return notes


def require_apart(images: ImagesConfig, folder: Path) -> None:
    """Refuse to start from the set that the run's own will overwrite: the run could not be resumed
    or repeated.

    Raises:
        InputError: the set is the one in the run's folder.
    """
    if images.initial_set is None:
        return
    place, own = Path(images.initial_set).expanduser().resolve(), folder.resolve()
    if place in (own, own / CONDENSED_FILE):
        raise InputError(
            f"images.initialise is {images.initialise!r}, the set in the run's own folder {folder}, which this run's "
            "images would overwrite: choose another --output"
        )


def _class_order(condensed: CondensedSet, info: DatasetInfo) -> list[int]:
    """The set's label for each of the data's classes."""
    ours, theirs = info.class_names, condensed.class_names
    if ours == theirs:
        return list(range(len(ours)))
    if sorted(ours) == sorted(theirs) and len(set(ours)) == len(ours):
        return [theirs.index(name) for name in ours]
    without = [name for name in ours if name not in theirs] or [name for name in theirs if name not in ours]
    reason = f"class {without[0]!r} is in one of them only" if without else "a class name is given twice"
    raise InputError(
        f"the set has {len(theirs)} classes, data {info.source!r} has {len(ours)}, and {reason}: must be the same names, "
        "in any order"
    )


def _check_sizes(condensed: CondensedSet, images: ImagesConfig, info: DatasetInfo) -> None:
    """Refuse a set of another image shape, formation or number of images per class.

    Raises:
        InputError: the message holds the set's value, and the run's.
    """
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
