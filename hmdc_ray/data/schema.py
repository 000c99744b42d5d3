"""What is known about a data set: its splits, classes, shape and statistics."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from hmdc_ray.config import ImagesConfig
from hmdc_ray.errors import InputError
from hmdc_ray.models.normalisation import Normalisation
from hmdc_ray.models.shape import ImageShape

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
"""Every split; a split's position here is its code in stored files."""

Labels = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Origin:
    """What the data were read from, and how they were interpreted: for people to check.

    Attributes:
        files: number of files of each split, by their names.
        cut: splits that were cut from the training images, because the source has no images of
            them.
        image_column: the column taken for the images; empty where there are no columns.
        label_column: the column taken for the labels, likewise.
        split_column: the column that says each row's split; empty: there is none.
        notes: lines on what was left out and why, and on what was assumed.
    """

    files: dict[Split, int] = field(default_factory=dict)
    cut: tuple[Split, ...] = ()
    image_column: str = ""
    label_column: str = ""
    split_column: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a decoded data set.

    Attributes:
        class_names: one name per label, in label order.
        shape: channels, height and width of every image.
        mean: mean per channel over the training split, of pixels on the [0, 1] scale.
        std: standard deviation per channel, likewise; never 0.
        fingerprint: 16 hexadecimal digits of a SHA-256 over decoded pixels, labels, splits and
            class names: equal for equal data, wherever it is stored.
        source: name of the data set as the user gave it.
        sizes: number of images per split.
        class_sizes: number of training images per label.
        origin: files and columns that the data were read from.
        source_name: name in :data:`hmdc_ray.config.statistics.KNOWN` that
            ``hmdc prepare torchvision:NAME`` recorded, such as ``mnist``, whatever classes, size or
            channels were chosen; None: nothing is recorded.
        statistics: name or numbers that ``mean`` and ``std`` are from, as in ``data.statistics``;
            None: the training split.
        statistics_note: line for the user where they may want other statistics than those taken by
            default.
    """

    class_names: tuple[str, ...]
    shape: ImageShape
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    source: str
    sizes: dict[Split, int]
    class_sizes: tuple[int, ...]
    origin: Origin = field(default_factory=Origin)
    source_name: str | None = None
    statistics: str | None = None
    statistics_note: str | None = None

    @property
    def normalisation(self) -> Normalisation:
        """How the images that networks see are normalised."""
        return Normalisation(self.mean, self.std)

    def to_json(self) -> str:
        """The facts as JSON; floats survive exactly."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DatasetInfo:
        """The inverse of :meth:`to_json`."""
        fields = json.loads(text)
        return cls(
            class_names=tuple(fields["class_names"]),
            shape=ImageShape(**fields["shape"]),
            mean=tuple(fields["mean"]),
            std=tuple(fields["std"]),
            fingerprint=fields["fingerprint"],
            source=fields["source"],
            sizes=fields["sizes"],
            class_sizes=tuple(fields["class_sizes"]),
            origin=Origin(**{**fields["origin"], **{name: tuple(fields["origin"][name]) for name in ("cut", "notes")}}),
            **{name: fields[name] for name in ("source_name", "statistics", "statistics_note")},
        )


def check_class_sizes(images: ImagesConfig, info: DatasetInfo) -> None:
    """Refuse to start synthetic images from more real ones than the smallest class has.

    Raises:
        InputError: a class has fewer training images than ``ipc * formation ** 2``, and
            ``initialise`` is real or kmeans.
    """
    needed = images.ipc * images.formation**2
    size = min(info.class_sizes)
    if images.initialise in ("real", "kmeans") and size < needed:
        name = info.class_names[info.class_sizes.index(size)]
        raise InputError(
            f"class {name!r} has {size} training images, the fewest of all, images.initialise {images.initialise!r} needs "
            f"{needed} (images.ipc {images.ipc} x formation {images.formation} squared, the largest possible ipc is "
            f"{size // images.formation**2}): use fewer, or initialise 'noise'"
        )


@dataclass(frozen=True)
class LabelledImages:
    """A data set on its way into the decoded file: labels are known, images arrive one by one, in
    the order of the labels.

    Attributes:
        source: name of the data set as the user gave it.
        class_names: one name per label, in label order.
        labels: class index of each image, (n,).
        splits: position in :data:`SPLITS` of each image's split, (n,).
        images: n images, (channels, height, width), all of one shape; can be iterated over once.
        origin: files and columns that the data were read from.
        source_name: name of the known data set, as in :class:`DatasetInfo`.
    """

    source: str
    class_names: tuple[str, ...]
    labels: Labels
    splits: Pixels
    images: Iterable[Pixels]
    origin: Origin = field(default_factory=Origin)
    source_name: str | None = None
