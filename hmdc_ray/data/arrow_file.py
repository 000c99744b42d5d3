"""The decoded data set on disk: an Arrow IPC file that every process on a node memory-maps.

Rows keep the order of the source. All record batches but the last two hold the same number of rows;
columns are ``pixels`` (fixed-size binary, channels x height x width bytes), ``label`` and ``split``
(position in ``SPLITS``). The last batch is empty and carries the :class:`DatasetInfo` as JSON in
its own metadata, because statistics and fingerprint are known only when the last image has been
written; a file without it was not finished.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hmdc_ray.config.statistics import Statistics
from hmdc_ray.data.limits import check_room
from hmdc_ray.data.schema import SPLITS, DatasetInfo, LabelledImages, Labels, Pixels
from hmdc_ray.models.shape import ImageShape

Progress = Callable[[int, int], None]
"""Callback that gets the number of images done and the number of all."""

VERSION = 5
"""Version of the layout and of the decoding; files of another one are not read."""

_BATCH_BYTES = 8 << 20
_INFO_KEY = "hmdc_ray"


@dataclass(frozen=True)
class DecodedFile:
    """An opened, memory-mapped file.

    Attributes:
        info: facts about the data set.
        labels: class index per row, (n,).
        splits: position in ``SPLITS`` per row, (n,).
        batches: read-only views of the mapped pixels, (rows, channels, height, width) each; all but
            the last hold the same number of rows.
    """

    info: DatasetInfo
    labels: Labels
    splits: Pixels
    batches: tuple[Pixels, ...]


def write_decoded(path: Path, source: LabelledImages, progress: Progress | None) -> None:
    """Write the data set batch by batch, at most a few megabytes (or one image) in memory, down to
    the disk.

    Raises:
        InputError: an image of ``source`` cannot be read, or the images would fill the disk.
        OSError: the disk is full or fails.
    """
    images, total = iter(source.images), len(source.labels)
    first = next(images)
    shape = ImageShape(*first.shape)
    check_room(path.parent, total * first.size, f"data.cache: {total} decoded images")
    schema = pa.schema([("pixels", pa.binary(first.size)), ("label", pa.int64()), ("split", pa.uint8())])
    histogram, digest = PixelHistogram(shape.channels), hashlib.sha256()
    step = max(1, _BATCH_BYTES // first.size)
    images = chain([first], images)
    with path.open("wb") as file:
        with pa.ipc.new_file(file, schema) as writer:
            for start in range(0, total, step):
                labels, splits = source.labels[start : start + step], source.splits[start : start + step]
                pixels_NCHW = np.stack(list(islice(images, len(labels))))
                assert len(pixels_NCHW) == len(labels), f"{len(pixels_NCHW)} images for {len(labels)} labels"
                histogram.add(pixels_NCHW[splits == SPLITS.index("train")])
                digest.update(pixels_NCHW.data)
                writer.write_batch(_batch(schema, pixels_NCHW, labels, splits))
                if progress is not None:
                    progress(start + len(labels), total)
            info = _info(source, shape, histogram, digest)
            empty = schema.empty_table().to_batches() or [pa.RecordBatch.from_pylist([], schema)]
            writer.write_batch(empty[0], custom_metadata={_INFO_KEY: info.to_json()})
        file.flush()
        os.fsync(file.fileno())


def open_decoded(path: Path) -> DecodedFile | None:
    """Map a decoded file into memory; None where there is none, or one that is cut short or of
    another layout."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        closing, metadata = reader.get_batch_with_custom_metadata(reader.num_record_batches - 1)
        info = DatasetInfo.from_json(metadata[_INFO_KEY])
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches - 1)]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    if closing.num_rows or sum(batch.num_rows for batch in batches) != sum(info.sizes.values()):
        return None
    return DecodedFile(
        info=info,
        labels=_column(batches, "label"),
        splits=_column(batches, "split"),
        batches=tuple(_view(batch.column("pixels"), info.shape) for batch in batches),
    )


def _batch(schema: pa.Schema, pixels_NCHW: Pixels, labels: Labels, splits: Pixels) -> pa.RecordBatch:
    pixels = pa.FixedSizeBinaryArray.from_buffers(schema.types[0], len(labels), [None, pa.py_buffer(pixels_NCHW)])
    return pa.record_batch([pixels, pa.array(labels), pa.array(splits)], schema=schema)


def _column(batches: Sequence[pa.RecordBatch], name: str) -> npt.NDArray[Any]:
    """Numbers of all batches; pyarrow's own ``to_numpy`` would import pandas, if that is
    installed."""
    return np.concatenate([np.from_dlpack(batch.column(name)) for batch in batches])


def _view(pixels: pa.FixedSizeBinaryArray, shape: ImageShape) -> Pixels:
    return np.frombuffer(pixels.buffers()[1], np.uint8).reshape(-1, shape.channels, shape.height, shape.width)


def _info(source: LabelledImages, shape: ImageShape, histogram: PixelHistogram, digest: hashlib._Hash) -> DatasetInfo:
    digest.update(source.labels.astype("<i8").data)
    digest.update(source.splits.data)
    digest.update(json.dumps([source.class_names, shape.channels, shape.height, shape.width]).encode())
    mean, std = histogram.statistics()
    training = source.labels[source.splits == SPLITS.index("train")]
    return DatasetInfo(
        class_names=source.class_names,
        shape=shape,
        mean=mean,
        std=std,
        fingerprint=digest.hexdigest()[:16],
        source=source.source,
        sizes={split: int((source.splits == code).sum()) for code, split in enumerate(SPLITS)},
        class_sizes=tuple(np.bincount(training, minlength=len(source.class_names)).tolist()),
        origin=source.origin,
        source_name=source.source_name,
    )


class PixelHistogram:
    """Counts pixel values per channel, so that statistics are exact however the images are cut into
    batches.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int) -> None:
        self._counts_CV = np.zeros((channels, 256), dtype=np.int64)

    def add(self, pixels_NCHW: Pixels) -> None:
        """Count the pixels of a batch; a batch of no images counts nothing."""
        for channel, counts in enumerate(self._counts_CV):
            counts += np.bincount(pixels_NCHW[:, channel].reshape(-1), minlength=256)

    def statistics(self) -> Statistics:
        """Mean and standard deviation (over all pixels) per channel; 1 in place of a deviation of
        0."""
        values_V = np.arange(256) / 255
        weights_CV = self._counts_CV / self._counts_CV.sum(axis=1, keepdims=True)
        mean_C = weights_CV @ values_V
        std_C = np.sqrt((weights_CV * (values_V - mean_C[:, None]) ** 2).sum(axis=1))
        std_C[std_C == 0] = 1.0
        return tuple(mean_C.tolist()), tuple(std_C.tolist())
