"""Labelled images from Parquet files in the Hugging Face layout (one row an image), read as a
stream."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from hmdc_ray.config import DataConfig
from hmdc_ray.data.ahead import map_ahead
from hmdc_ray.data.columns import class_names, image_column, is_list, label_column, other_label_columns, split_column
from hmdc_ray.data.decode import PixelRule, image_from_array, open_encoded, to_pixels
from hmdc_ray.data.encoded import prepared_notes, prepared_source
from hmdc_ray.data.files import SourceFile, missing_shards
from hmdc_ray.data.labels import index_labels, select_classes
from hmdc_ray.data.limits import check_fetched, check_parquet
from hmdc_ray.data.schema import SPLITS, LabelledImages, Origin, Pixels
from hmdc_ray.data.split_column import Hints, hinted_splits, require_no_hints, splits_of_rows
from hmdc_ray.data.splits import assign_splits, check_splits
from hmdc_ray.errors import InputError, listed

_ROWS_READ = 64  # encoded images held in memory at a time; few, because each may be large
_READ_BYTES = 1 << 20  # of a file at a time
_ARRAYS = (".npz", ".pt", ".pth")
_DECODED_BYTES = 32 << 20  # decoded images waiting at a time

RawImage: TypeAlias = bytes | pa.Scalar | None


@dataclass(frozen=True)
class _Table:
    """What is read from a Parquet file before its images.

    Attributes:
        path: path of the file.
        image_column: name of the column with the images.
        label_column: name of the column with the labels.
        split_column: name of the column that says each row's split; None: the file has none.
        labels: labels as they are in the file, (rows,).
        class_names: class names from the file's metadata; None where it has none.
        splits: position in ``SPLITS`` of each row's split, (rows,).
        hints: columns that seem to say each row's split, where neither the file nor
            ``split_column`` does.
        notes: lines on other columns that may have been meant, and those that ``hmdc prepare``
            noted.
        source_name: the known data set that ``hmdc prepare`` recorded, if any.
    """

    path: Path
    image_column: str
    label_column: str
    split_column: str | None
    labels: pa.ChunkedArray
    class_names: tuple[str, ...] | None
    splits: Pixels
    hints: Hints
    notes: tuple[str, ...]
    source_name: str | None


def read_parquet(files: tuple[SourceFile, ...], config: DataConfig) -> LabelledImages:
    """Read all labels now, and images as they are asked for.

    Rows keep the order of ``files``. The first row of the first file sets size and colour where
    ``config`` leaves them open.

    Raises:
        InputError: a file cannot be used, now or later, while its images are read; names the file,
            and the row (from 0) if one is to blame.
    """
    tables = [_read_table(file, config) for file in files]
    first = tables[0]
    for table in tables[1:]:
        if table.class_names != first.class_names:
            raise InputError(f"{table.path}: class names in the schema metadata differ from those of {first.path}")
        if (table.split_column is None) != (first.split_column is None):
            has, lacks = (table, first) if first.split_column is None else (first, table)
            raise InputError(f"{lacks.path}: no column {has.split_column!r}, which says each row's split in {has.path}")
    require_no_hints([table.hints for table in tables], first.path)
    splits = np.concatenate([table.splits for table in tables])
    if not len(splits):
        raise InputError(f"data.source {config.source}: the files hold no rows; at least one image per class is needed")
    labels, names = index_labels([(table.path, table.labels) for table in tables], first.class_names)
    labels, names, kept = select_classes(labels, names, config.classes)
    labels, given = labels[kept], splits[kept]
    splits = assign_splits(labels, given, config.test_fraction, config.validation_fraction)
    check_splits(config.source, labels, splits, names)
    others = (f"images of other classes than data.classes, left out: {np.sum(~kept):,}",) if not kept.all() else ()
    origin = Origin(
        files={split: sum(file.split == split for file in files) for split in SPLITS},
        cut=tuple(split for code, split in enumerate(SPLITS) if code in splits and code not in given),
        image_column=first.image_column,
        label_column=first.label_column,
        split_column=first.split_column or "",
        notes=(*missing_shards(files), *others, *dict.fromkeys(note for table in tables for note in table.notes)),
    )
    source_name = first.source_name if all(table.source_name == first.source_name for table in tables) else None
    return LabelledImages(config.source, names, labels, splits, _images(tables, kept, config), origin, source_name)


def _read_table(file: SourceFile, config: DataConfig) -> _Table:
    path = file.path
    check_fetched(path)
    with _reading(path), pq.ParquetFile(path, buffer_size=_READ_BYTES) as parquet:
        check_parquet(path, parquet)
        schema = parquet.schema_arrow
        image = image_column(schema, config.image_column, path)
        label = label_column(schema, config.label_column, path)
        split = split_column(schema, config.split_column, path)
        table = parquet.read(columns=[label] + ([] if split is None else [split]))
        others = [repr(name) for name in other_label_columns(schema, label, path) if name != split]
        notes = (f"labels are from column {label!r}, not from {listed(others)}",) if others else ()
        return _Table(
            path=path,
            image_column=image,
            label_column=label,
            split_column=split,
            labels=table.column(label),
            class_names=class_names(schema, label, path),
            splits=_splits(file, table, split, schema),
            hints={} if file.is_named or split is not None else hinted_splits(parquet, label, path),
            notes=notes + prepared_notes(parquet.metadata.metadata),
            source_name=prepared_source(parquet.metadata.metadata),
        )


def _splits(file: SourceFile, table: pa.Table, column: str | None, schema: pa.Schema) -> Pixels:
    """The split of each row: that of the file, with which a column must agree where a name says the
    file's."""
    named = np.full(len(table), SPLITS.index(file.split), np.uint8)
    if column is None:
        return named
    splits = splits_of_rows(table.column(column), column, class_names(schema, column, file.path), file.path)
    wrong = np.flatnonzero(splits != named)
    if file.is_named and len(wrong):
        raise InputError(
            f"{file.path}, row {wrong[0]}: column {column!r} says {SPLITS[splits[wrong[0]]]}, but the file's name says"
            f" {file.split}; rename the file or the column"
        )
    return splits


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn what Arrow raises about a file that is no Parquet file, or a broken one, into an error
    that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # broken bytes can fail anywhere in the reader
        remedy = f"; for arrays: hmdc prepare {shlex.quote(str(file))} OUT, then --data OUT"
        hint = remedy if file.suffix.lower() in _ARRAYS else ""
        raise InputError(f"{file}: cannot be read as a Parquet file: {str(error).rstrip('.')}{hint}") from error


@dataclass(frozen=True, slots=True)
class _Row:
    """One image of a file: its row, counted from 0, its content, and the name that the file gives
    it, if any."""

    number: int
    image: RawImage
    name: Any


@contextmanager
def _at(file: Path, row: _Row) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        name = f" ({row.name})" if isinstance(row.name, str) and row.name else ""
        raise InputError(f"{file}, row {row.number}{name}: {error}") from error


def _images(tables: list[_Table], kept: npt.NDArray[np.bool_], config: DataConfig) -> Iterator[Pixels]:
    """Decoded images in the order of the rows kept, a few groups ahead."""
    for decoded in map_ahead(_decode, _groups(tables, kept, config)):
        yield from decoded


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows of a file to decode by one rule."""

    file: Path
    rule: PixelRule
    rows: list[_Row]


def _groups(tables: list[_Table], kept: npt.NDArray[np.bool_], config: DataConfig) -> Iterator[_Group]:
    """The rows kept, as many at a time as may wait when they are decoded; the first image sets the
    rule."""
    rule: PixelRule | None = None
    offset = 0
    for table in tables:
        for raw in _raw_images(table):
            rows = [row for row in raw if kept[offset + row.number]]
            if not rows:
                continue
            if rule is None:
                with _at(table.path, rows[0]):
                    rule = PixelRule.following(_open(rows[0].image), config.image_size, config.channels)
            step = max(1, _DECODED_BYTES // rule.shape.values)
            for first in range(0, len(rows), step):
                yield _Group(table.path, rule, rows[first : first + step])
        offset += len(table.labels)


def _decode(group: _Group) -> list[Pixels]:
    decoded = []
    for row in group.rows:
        with _at(group.file, row):
            decoded.append(to_pixels(_open(row.image), group.rule))
    return decoded


def _open(raw: RawImage) -> Image.Image:
    if raw is None:
        raise InputError("image is null; the encoded image must be in the file itself")
    return open_encoded(raw) if isinstance(raw, bytes) else image_from_array(_array(raw))


def _raw_images(table: _Table) -> Iterator[list[_Row]]:
    """The rows of the file, a few at a time."""
    start = 0
    # pre_buffer off and a read buffer on: pages are read one by one, never a whole row group.
    with _reading(table.path), pq.ParquetFile(table.path, pre_buffer=False, buffer_size=_READ_BYTES) as parquet:
        for batch in parquet.iter_batches(batch_size=_ROWS_READ, columns=[table.image_column]):
            column = batch.column(0)
            if isinstance(column, pa.ExtensionArray):
                column = column.storage
            names: list[Any] = [None] * len(column)
            if pa.types.is_struct(column.type):
                if column.type.get_field_index("path") >= 0:
                    names = pc.struct_field(column, "path").to_pylist()
                column = pc.struct_field(column, "bytes")
            nested = is_list(column.type)  # kept as Arrow values: Python lists of integers would be slow
            images = [value if value.is_valid else None for value in column] if nested else column.to_pylist()
            yield [_Row(start + place, *each) for place, each in enumerate(zip(images, names, strict=True))]
            start += batch.num_rows
    if start != len(table.labels):
        raise InputError(f"{table.path}: it has {len(table.labels)} labels, but {start} images: it is damaged")


def _array(scalar: pa.Scalar) -> npt.NDArray[np.generic]:
    """Nested lists of equal lengths as an array, without a Python object per value."""
    values, shape = scalar.values, [len(scalar.values)]
    while is_list(values.type):
        lengths = pc.list_value_length(values).unique()
        if len(lengths) != 1 or not lengths[0].is_valid:
            raise InputError("raw image has rows of unequal length, null rows, or none; all rows must be alike")
        shape.append(lengths[0].as_py())
        values = values.flatten()
    if values.null_count:
        raise InputError("raw image holds null values; expected integers from 0 to 255")
    array: npt.NDArray[np.generic] = values.to_numpy(zero_copy_only=False)
    return array.reshape(shape)
