"""What is known of a foreign file: what the user states, and what the file or its format says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
from torch import Tensor

from hmdc_ray.condensed import Metadata
from hmdc_ray.config import statistics as config_statistics
from hmdc_ray.config.statistics import Statistics
from hmdc_ray.data.packing import Decoding
from hmdc_ray.errors import InputError, closest

Scale = Literal["normalised", "pixel"]
"""``normalised``: pixels less the mean, over the deviation, per channel. ``pixel``: 0 to 1."""

SCALES: tuple[Scale, ...] = ("normalised", "pixel")


@dataclass(frozen=True)
class ImportOptions:
    """What the user states about a file; None where nothing is stated.

    Attributes:
        statistics: mean and deviation per channel, of pixels 0 to 1, that the images are normalised
            with (or, of images in pixel scale, are to be normalised with).
        scale: scale of the values in the file, one of :data:`Scale`.
        formation: factor f, at least 1: a stored image holds f x f training images.
        labels: file of labels, for images that come without.
        snapshot: number of the set where the file has several; negative counts from the end.
        class_names: one name for each class, in the order of the labels.

    Raises:
        InputError: an unknown scale, a factor below 1, or statistics that are not finite, the
            deviations above 0.
    """

    statistics: Statistics | None = None
    scale: str | None = None
    formation: int | None = None
    labels: Path | None = None
    snapshot: int | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and self.scale not in SCALES:
            raise InputError(f"--scale is {self.scale!r}, which is not known: {closest(self.scale, SCALES)}")
        if self.formation is not None and self.formation < 1:
            raise InputError(f"--formation is {self.formation}, must be at least 1")
        if self.statistics is not None:
            mean, std = self.statistics
            if not all(map(math.isfinite, mean)) or not all(0 < value < math.inf for value in std):
                raise InputError(f"--statistics are {mean}:{std}, must be finite, the deviations above 0")


@dataclass(frozen=True)
class FileContents:
    """What a file holds, before it is checked.

    Attributes:
        images: stored images, meant to be (N, C, H, W), floating point.
        labels: array that should hold one label for each image; None: not in the file.
        scale: scale that the file or its format states; None: neither does.
        formation: factor f, likewise.
        decoding: rule by which the format's own code cuts training images from stored ones.
        class_names: class names, likewise; the labels count them.
        classes: number of classes, where the file or its format says it, but no names.
        metadata: metadata of a file that was exported from here, which state everything else; else
            None.
        origin: name of the part of the file, or of the further file, that this is, for the user.
        notes: lines for the user on how the file was read.
    """

    images: Tensor
    labels: Tensor | npt.NDArray[Any] | None
    scale: Scale | None = None
    formation: int | None = None
    decoding: Decoding = "aligned"
    class_names: tuple[str, ...] | None = None
    classes: int | None = None
    metadata: Metadata | None = None
    origin: str = ""
    notes: tuple[str, ...] = ()


def parse_statistics(text: str) -> Statistics:
    """What the option ``--statistics`` says; see
    :func:`hmdc_ray.config.statistics.parse_statistics`.

    Raises:
        InputError: neither a known name nor numbers.
    """
    try:
        return config_statistics.parse_statistics(text)
    except ValueError as error:
        raise InputError(f"--statistics is {error}") from error
