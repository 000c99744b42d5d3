"""Labelled images from Parquet files in the Hugging Face layout (one row an image), read as a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from hmdc_ray.config import DataConfig
from hmdc_ray.data.columns import class_names, image_column, is_list, label_column
from hmdc_ray.data.decode import PixelRule, image_from_array, open_encoded, to_pixels
from hmdc_ray.data.files import SourceFile
from hmdc_ray.data.labels import index_labels
from hmdc_ray.data.limits import check_parquet
from hmdc_ray.data.schema import SPLITS, LabelledImages, Pixels
from hmdc_ray.data.splits import assign_splits, check_splits
from hmdc_ray.errors import InputError

_DECODING_THREADS = 2
_ROWS_READ = 64  # encoded images held in memory at a time; few, because each may be large
_DECODED_BYTES = 32 << 20  # decoded images waiting at a time

RawImage: TypeAlias = bytes | pa.Scalar | None


@dataclass(frozen=True)
class _Table:
    """A Parquet file of the source with its image column and the number of its labels."""

    path: Path
    image_column: str
    rows: int


def read_parquet(files: tuple[SourceFile, ...], config: DataConfig) -> LabelledImages:
    """Read all labels now, and images as they are asked for.

    Rows keep the order of ``files``. The first row of the first file sets size and colour where ``config`` leaves them open.

    Raises:
        InputError: with the file, and the row counted from 0 where one is to blame; also later, while images are read.
    """
    tables, columns, names, given = [], [], None, []
    for file in files:
        with _reading(file.path), pq.ParquetFile(file.path) as parquet:
            check_parquet(file.path, parquet)
            schema = parquet.schema_arrow
            image = image_column(schema, config.image_column, file.path)
            column = label_column(schema, config.label_column, file.path)
            labels = parquet.read(columns=[column]).column(column)
            named = class_names(schema, column, file.path)
        tables.append(_Table(file.path, image, len(labels)))
        columns.append((file.path, labels))
        given.append(np.full(len(labels), SPLITS.index(file.split), np.uint8))
        if len(columns) > 1 and named != names:
            raise InputError(f"{file.path}: class names in the schema metadata differ from those of {files[0].path}")
        names = named
    splits = np.concatenate(given)
    if not len(splits):
        raise InputError(f"data.source {config.source}: the files hold no rows; at least one image per class is needed")
    indices, names = index_labels(columns, names)
    splits = assign_splits(indices, splits, config.test_fraction, config.validation_fraction)
    check_splits(config.source, indices, splits, names)
    return LabelledImages(config.source, names, indices, splits, _images(tables, config))


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn what Arrow raises about a file that is no Parquet file, or a broken one, into an error that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # broken bytes can fail anywhere in the reader
        raise InputError(f"{file}: cannot be read as a Parquet file: {error}") from error


@contextmanager
def _at(file: Path, row: int) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{file}, row {row}: {error}") from error


def _images(tables: list[_Table], config: DataConfig) -> Iterator[Pixels]:
    """Decode in groups, a few at a time (Pillow frees the interpreter while it decodes), in the order of the rows."""
    rule: PixelRule | None = None
    waiting: deque[Future[list[Pixels]]] = deque()
    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        for table in tables:
            for start, raw in _raw_images(table):
                if rule is None:
                    with _at(table.path, 0):
                        rule = PixelRule.following(_open(raw[0]), config.image_size, config.channels)
                step = max(1, _DECODED_BYTES // rule.bytes_per_image)
                for first in range(0, len(raw), step):
                    waiting.append(pool.submit(_decode, table.path, rule, start + first, raw[first : first + step]))
                    if len(waiting) > _DECODING_THREADS:
                        yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _decode(file: Path, rule: PixelRule, start: int, group: list[RawImage]) -> list[Pixels]:
    decoded = []
    for row, raw in enumerate(group, start):
        with _at(file, row):
            decoded.append(to_pixels(_open(raw), rule))
    return decoded


def _open(raw: RawImage) -> Image.Image:
    if raw is None:
        raise InputError("image is null; the encoded image must be in the file itself")
    return open_encoded(raw) if isinstance(raw, bytes) else image_from_array(_array(raw))


def _raw_images(table: _Table) -> Iterator[tuple[int, list[RawImage]]]:
    """Groups of rows: the first one's number, and their images."""
    start = 0
    # pre_buffer off and a read buffer on: pages are read one by one, never a whole row group.
    with _reading(table.path), pq.ParquetFile(table.path, pre_buffer=False, buffer_size=1 << 20) as parquet:
        for batch in parquet.iter_batches(batch_size=_ROWS_READ, columns=[table.image_column]):
            column = batch.column(0)
            if isinstance(column, pa.ExtensionArray):
                column = column.storage
            if pa.types.is_struct(column.type):
                column = pc.struct_field(column, "bytes")
            nested = is_list(column.type)  # kept as Arrow values: Python lists of integers would be slow
            yield start, [value if value.is_valid else None for value in column] if nested else column.to_pylist()
            start += batch.num_rows
    if start != table.rows:
        raise InputError(f"{table.path}: it has {table.rows} labels, but {start} images: it is damaged")


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
