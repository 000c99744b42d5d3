"""Labels in arrays of any kind as class numbers, and how many classes they are of. Shapes: N
labels, K classes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from hmdc_ray.data.schema import Labels
from hmdc_ray.errors import InputError, listed

MOST_CLASSES = 1_000_000
"""Largest number of classes: with more, a name for each would fill the memory."""


@dataclass(frozen=True)
class ClassNumbers:
    """Labels as numbers.

    Attributes:
        labels: class numbers, int64 (N,), 0 to MOST_CLASSES - 1.
        classes: number of columns K of one-hot labels, else None.
        note: line for the user on how they were read, where that is not obvious; else empty.
    """

    labels: Labels
    classes: int | None = None
    note: str = ""


def class_numbers(labels: Tensor | npt.NDArray[Any]) -> ClassNumbers:
    """Read integers (N,) or (N, 1), whole numbers in floating point, or one-hot rows (N, K): a
    single 1 among zeros.

    Raises:
        InputError: anything else, such as soft labels, with the first row that is none; a label
            that is no class number.
    """
    kind, shape = labels.dtype, list(labels.shape)
    values = _as_numpy(labels)
    rows = values.reshape(len(values)) if values.ndim == 2 and values.shape[1] == 1 else values
    problem = f"labels are {kind} {shape}, must be integers, one an image (not soft labels)"
    if rows.ndim == 2 and rows.size and rows.dtype.kind in "biuf":
        wrong = np.flatnonzero(((rows != 0).sum(axis=1) != 1) | ((rows == 1).sum(axis=1) != 1))
        if len(wrong):
            raise InputError(f"{problem}: row {wrong[0]} is not a single 1 among zeros")
        return ClassNumbers(rows.argmax(axis=1).astype(np.int64), rows.shape[1], f"one-hot labels of {rows.shape[1]} columns")
    if rows.ndim != 1 or rows.dtype.kind not in "iuf":
        raise InputError(problem)
    note = ""
    if rows.dtype.kind == "f":
        wrong = np.flatnonzero(~np.isfinite(rows) | (rows != np.round(rows)))
        if len(wrong):
            raise InputError(f"{problem}: row {wrong[0]} is {rows[wrong[0]]}")
        note = f"labels are whole numbers as {kind}"
    wrong = np.flatnonzero((rows < 0) | (rows >= MOST_CLASSES))
    if len(wrong):
        raise InputError(f"label of row {wrong[0]} is {rows[wrong[0]]}, must be 0 to {MOST_CLASSES - 1}")
    return ClassNumbers(rows.astype(np.int64), note=note)


def without_images(labels: Iterable[int], names: Sequence[str]) -> str:
    """The classes that no label is of, as in ``classes 0, 1, 2, 4 have no image``; empty where
    there are none."""
    present: Collection[int] = set(labels)
    absent = [name for label, name in enumerate(names) if label not in present]
    if not absent:
        return ""
    return f"class {absent[0]} has no image" if len(absent) == 1 else f"classes {listed(absent)} have no image"


def _as_numpy(labels: Tensor | npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not isinstance(labels, Tensor):
        return labels
    if labels.is_floating_point():  # bfloat16 and its like are not NumPy's
        labels = labels.double()
    array: npt.NDArray[Any] = np.array(0j) if labels.is_complex() else labels.numpy()
    return array
