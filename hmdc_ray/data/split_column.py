"""The split of each row, where a column says it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hmdc_ray.data.columns import class_names, is_text
from hmdc_ray.data.schema import SPLITS, Pixels, Split
from hmdc_ray.data.split_names import KEYWORDS, hidden_keyword, split_of
from hmdc_ray.errors import InputError

_MOST_NAMES_OF_SPLITS = 10
_ROWS_TRIED = 64

Hints = dict[str, set[Split]]
"""Splits that the values of a column seem to name, by the column."""


def splits_of_rows(column: pa.ChunkedArray, name: str, names: tuple[str, ...] | None, file: Path) -> Pixels:
    """Position in ``SPLITS`` of every row's split, (n,), by the keywords of
    :mod:`hmdc_ray.data.split_names`.

    Args:
        column: texts, or integers that ``names`` give texts to.
        name: the column's name, for messages.
        names: texts that integer values stand for, where the file has them.
        file: path named in errors.

    Raises:
        InputError: a value that names no split.
    """
    if not is_text(column.type) and (names is None or not pa.types.is_integer(column.type)):
        raise _refused(file, name, f"holds {column.type}")
    codes: dict[Any, int] = {}
    for value in column.unique().to_pylist():
        text = names[value] if isinstance(value, int) and names is not None and 0 <= value < len(names) else value
        if not isinstance(text, str):
            row = column.to_pylist().index(value)
            raise _refused(file, name, f"is {value!r} in row {row}")
        codes[value] = SPLITS.index(_split(file, name, text))
    return np.array([codes[value] for value in column.to_pylist()], np.uint8)


def hinted_splits(parquet: pq.ParquetFile, label: str, file: Path) -> Hints:
    """Columns that are not called ``split`` and yet hold nothing but names of splits, such as
    ``Usage`` with ``PublicTest``.

    These are texts, numbers that the file's metadata give names to, and booleans in a column that
    is called after a split (``is_test``).

    Args:
        parquet: opened file.
        label: column with the labels, which is skipped.
        file: path named in errors.
    """
    schema = parquet.schema_arrow
    columns = [field for field in schema if field.name != label and schema.names.count(field.name) == 1]
    hints: Hints = {}
    for name in (field.name for field in columns if pa.types.is_integer(field.type)):
        hints[name] = _named_splits(class_names(schema, name, file) or ())
    texts = [field.name for field in columns if is_text(field.type)]
    first = next(parquet.iter_batches(batch_size=_ROWS_TRIED, columns=texts), None) if texts else None
    for name in texts:
        if first is not None and _named_splits(first.column(name).to_pylist()):
            hints[name] = _named_splits(parquet.read(columns=[name]).column(name).unique().to_pylist())
    for name in (field.name for field in columns if pa.types.is_boolean(field.type)):
        split = KEYWORDS.get(name.lower().removeprefix("is_"))
        if split is not None:
            values = parquet.read(columns=[name]).column(name).unique().to_pylist()
            other: Split = "test" if split == "train" else "train"
            hints[name] = {split if value else other for value in values if value is not None}
    return {name: splits for name, splits in hints.items() if splits}


def require_no_hints(hints: list[Hints], file: Path) -> None:
    """Refuse files whose rows seem to name their splits in a column that is not read as such: test
    images would train.

    Args:
        hints: result of :func:`hinted_splits` for each file.
        file: the first one, for messages.

    Raises:
        InputError: a column seems to name two splits or more.
    """
    for name in {name: None for each in hints for name in each}:
        splits = {split for each in hints for split in each.get(name, ())}
        if len(splits) > 1:
            found = ", ".join(split for split in SPLITS if split in splits)
            raise InputError(
                f"{file}: column {name!r} seems to say each row's split ({found}), and is not read: set data.split_column:"
                f" {name} if its values are such words, else write the words into a column 'split'; remove the column if it is"
                " about something else"
            )


def _named_splits(values: Iterable[Any]) -> set[Split]:
    """Splits that the values name, within words too; none where a value names none or there are too
    many values."""
    texts = {*values} - {None}
    keywords = {hidden_keyword(text) if isinstance(text, str) else None for text in texts}
    if None in keywords or len(texts) > _MOST_NAMES_OF_SPLITS:
        return set()
    return {KEYWORDS[keyword] for keyword in keywords if keyword is not None}


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
