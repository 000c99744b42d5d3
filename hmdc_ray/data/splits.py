"""The fixed division of a data set into training, validation and test images."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from hmdc_ray.data.schema import SPLITS, Labels, Pixels
from hmdc_ray.errors import InputError
from hmdc_ray.seeding import Key


def assign_splits(labels: Labels, given: Pixels, test_fraction: float, validation_fraction: float) -> Pixels:
    """Cut the test and the validation split from the training split where the source has none.

    The same images are always taken: the draw depends on nothing but the class and the number of
    its images.

    Args:
        labels: class of each image, (n,).
        given: position in ``SPLITS`` of the split that each image's file belongs to, (n,).
        test_fraction: part of each class's training images used when no image is given as a test
            image.
        validation_fraction: part of each class for validation, likewise, of what the test split
            left.

    Returns:
        (n,) position in ``SPLITS`` of each image's split. A class keeps at least one of its
        training images.
    """
    splits = given.copy()
    if not (given == SPLITS.index("test")).any():
        _cut(labels, splits, "test", test_fraction)
    if not (given == SPLITS.index("validation")).any():
        _cut(labels, splits, "validation", validation_fraction)
    return splits


def _cut(labels: Labels, splits: Pixels, part: Literal["validation", "test"], fraction: float) -> None:
    rows = np.flatnonzero(splits == SPLITS.index("train"))
    splits[rows[_stratified_part(labels[rows], part, fraction)]] = SPLITS.index(part)


def _stratified_part(labels: Labels, part: Literal["validation", "test"], fraction: float) -> npt.NDArray[np.intp]:
    """Rows of the part. A class of two or more gives at least one image to the test: it could not
    be judged otherwise."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    chosen = [np.empty(0, dtype=np.intp)]
    for rows in np.split(order, starts[1:]) if len(order) else ():
        key = Key(seed=0, stream="split", step=SPLITS.index(part), label=int(labels[rows[0]]))
        wanted = max(round(fraction * len(rows)), int(part == "test"))
        chosen.append(key.numpy().permutation(rows)[: min(wanted, len(rows) - 1)])
    return np.concatenate(chosen)


def check_splits(source: str, labels: Labels, splits: Pixels, class_names: tuple[str, ...]) -> None:
    """Refuse a data set in which a class cannot be trained on, or nothing can be tested.

    Raises:
        InputError: no training images; names the first class without them, or the empty test split.
    """
    present = np.unique(labels[splits == SPLITS.index("train")])
    if not len(present):
        raise InputError(f"data.source {source}: no training images: all {len(labels):,} belong to other splits; add some")
    if len(present) < len(class_names):
        missing = next(label for label in range(len(class_names)) if label >= len(present) or present[label] != label)
        raise InputError(
            f"data.source {source}: class {class_names[missing]!r} (label {missing}) has no training images;"
            f" each of the {len(class_names)} classes needs one or more; data.classes chooses among them"
        )
    if not (splits == SPLITS.index("test")).any():
        raise InputError(f"data.source {source}: no test images, and no class has two images to spare one; add images")
