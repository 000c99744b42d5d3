"""Labels of a data set, from integers or class names in Parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hmdc_ray.data.columns import is_text
from hmdc_ray.data.label_arrays import MOST_CLASSES
from hmdc_ray.data.schema import Labels
from hmdc_ray.errors import InputError, closest


def index_labels(columns: list[tuple[Path, pa.ChunkedArray]], names: tuple[str, ...] | None) -> tuple[Labels, tuple[str, ...]]:
    """Class indices and class names of all files.

    Args:
        columns: each file and its label column, integers or strings.
        names: class names from the files' metadata. None: strings are sorted, integers are their
            own names.

    Returns:
        (n,) class index per row, the files' rows one after the other; one name per class.

    Raises:
        InputError: a null, empty, negative or unknown label (file, row and value), or files of
            which only some hold strings.
    """
    for file, column in columns:
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise InputError(f"{file}, row {row}: label is null; every row needs one")
    texts = [is_text(column.type) for _, column in columns]
    if all(texts):
        return _from_texts(columns, names)
    if any(texts):
        raise InputError(
            f"{columns[texts.index(True)][0]}: labels are strings, but integers in {columns[texts.index(False)][0]}"
        )
    return _from_integers(columns, names)


def select_classes(
    labels: Labels, names: tuple[str, ...], chosen: Sequence[str | int] | None
) -> tuple[Labels, tuple[str, ...], npt.NDArray[np.bool_]]:
    """Keep a choice of the classes, numbered anew in its order.

    Args:
        labels: class index per row, (n,).
        names: one name per class.
        chosen: names, or class indices; None: all classes.

    Returns:
        (n,) new class index per row, -1 for rows of other classes; the names kept; (n,) whether a
        row is kept.

    Raises:
        InputError: an unknown class, one that is named twice, or a number that is another class's
            name.
    """
    if chosen is None:
        return labels, names, np.ones(len(labels), np.bool_)
    known = {name: place for place, name in enumerate(names)}
    places = [_place(entry, names, known) for entry in chosen]
    taken = Counter(places)
    for entry, place in zip(chosen, places, strict=True):
        if taken[place] > 1:
            raise InputError(f"data.classes names class {entry!r} more than once")
    numbers = np.full(len(names), -1, np.int64)
    numbers[places] = np.arange(len(places))
    selected = numbers[labels]
    return selected, tuple(names[place] for place in places), selected >= 0


def _place(entry: str | int, names: tuple[str, ...], known: dict[str, int]) -> int:
    """The class index that a name or a number stands for; ``known`` has those of the names."""
    if isinstance(entry, str):
        if entry not in known:
            raise InputError(f"data.classes has {entry!r}, which is no class; {closest(entry, names)}")
        return known[entry]
    called = str(entry)
    if not 0 <= entry < len(names):
        hint = f"; write {called!r} in quotes for the class of that name" if called in known else ""
        raise InputError(f"data.classes has class {entry}, which does not exist; classes are 0 to {len(names) - 1}{hint}")
    if known.get(called, entry) != entry:
        raise InputError(
            f"data.classes has {entry}: class number {entry} is called {names[entry]!r}, and number {known[called]} is called"
            f" {called!r}; write the one that is meant in quotes, by its name"
        )
    return entry


def _from_texts(columns: list[tuple[Path, pa.ChunkedArray]], names: tuple[str, ...] | None) -> tuple[Labels, tuple[str, ...]]:
    texts = [column.cast(pa.large_string()) for _, column in columns]
    if names is None:
        for (file, _), text in zip(columns, texts, strict=True):
            row = pc.index(text, "").as_py()
            if row >= 0:
                raise InputError(f"{file}, row {row}: label is an empty text; every row needs a class")
        names = tuple(sorted({name for text in texts for name in text.unique().to_pylist()}))
    known = pa.array(names, pa.large_string())
    parts = []
    for (file, _), text in zip(columns, texts, strict=True):
        indices = pc.index_in(text, value_set=known)
        if indices.null_count:
            row = int(np.flatnonzero(indices.is_null().to_numpy())[0])
            raise InputError(f"{file}, row {row}: label is {text[row].as_py()!r}, not one of the {len(names)} class names")
        parts.append(indices.to_numpy().astype(np.int64))
    return np.concatenate(parts), names


def _from_integers(
    columns: list[tuple[Path, pa.ChunkedArray]], names: tuple[str, ...] | None
) -> tuple[Labels, tuple[str, ...]]:
    limit = MOST_CLASSES if names is None else len(names)
    parts = []
    for file, column in columns:
        values = column.to_numpy()
        wrong = np.flatnonzero((values < 0) | (values >= limit))
        if len(wrong):
            value = values[wrong[0]]
            hint = " (-1 stands for images without labels: leave them out)" if value == -1 else ""
            raise InputError(f"{file}, row {wrong[0]}: label is {value}; must be 0 to {limit - 1}{hint}")
        parts.append(values.astype(np.int64))
    labels = np.concatenate(parts)
    return labels, names if names is not None else tuple(str(label) for label in range(labels.max(initial=-1) + 1))
