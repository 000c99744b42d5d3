"""The split of each row, where a column says it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from hmdc_ray.data.columns import is_text
from hmdc_ray.data.schema import SPLITS, Pixels, Split
from hmdc_ray.data.split_names import split_of
from hmdc_ray.errors import InputError


def splits_of_rows(column: pa.ChunkedArray, name: str, class_names: tuple[str, ...] | None, file: Path) -> Pixels:
    """Position in ``SPLITS`` of every row's split, (n,), by the keywords of :mod:`hmdc_ray.data.split_names`.

    Args:
        column: texts, or integers that ``class_names`` give texts to.
        name: the column's name, for messages.
        class_names: names of the values, where the file has them.
        file: for messages.

    Raises:
        InputError: a value that names no split.
    """
    values = column.combine_chunks()
    if pa.types.is_integer(values.type) and class_names is not None:
        unique = sorted(set(values.to_pylist()) - {None})
        known = {value: class_names[value] for value in unique if 0 <= value < len(class_names)}
    elif is_text(values.type):
        values = values.cast(pa.large_string())
        known = {value: value for value in values.unique().to_pylist() if value is not None}
    else:
        raise _refused(file, name, f"holds {values.type}")
    codes = np.full(len(values), len(SPLITS), np.uint8)
    array = np.asarray(values.to_pylist(), dtype=object)
    for value, text in known.items():
        codes[array == value] = SPLITS.index(_split(file, name, text))
    wrong = np.flatnonzero(codes == len(SPLITS))
    if len(wrong):
        raise _refused(file, name, f"is {array[wrong[0]]!r} in row {wrong[0]}")
    return codes


def _split(file: Path, name: str, text: str) -> Split:
    try:
        split = split_of([text])
    except InputError as error:
        raise _refused(file, name, f"has the value {text!r}, which names two splits") from error
    if split is None:
        raise _refused(file, name, f"has the value {text!r}")
    return split


def _refused(file: Path, name: str, what: str) -> InputError:
    return InputError(
        f"{file}: column {name!r} (data.split_column) {what}; values must name train, validation or test. Remove or rename the"
        " column if it is about something else"
    )
