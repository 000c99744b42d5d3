"""Encoded images on their way into Parquet files of the Hugging Face layout."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hmdc_ray.data.schema import Labels, Split

_GROUP_ROWS = 1000
_GROUP_BYTES = 16 << 20

NamedImage = tuple[str, bytes]
"""Name of an image, for messages, and its encoded bytes."""


@dataclass(frozen=True)
class EncodedSplit:
    """Images of one split.

    Attributes:
        labels: (n,) class index of each image.
        images: n named images in the order of the labels; can be iterated over once.
    """

    labels: Labels
    images: Iterable[NamedImage]


@dataclass(frozen=True)
class EncodedImages:
    """A labelled data set of encoded images.

    Attributes:
        class_names: one name per label, in label order.
        splits: the splits that the source has.
        notes: what was taken for what, a line each; for the user to read.
    """

    class_names: tuple[str, ...]
    splits: dict[Split, EncodedSplit]
    notes: tuple[str, ...] = ()


def encode_png(image: Image.Image) -> bytes:
    """The image as lossless PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def write_split(folder: Path, data: EncodedImages, split: Split, wrote: Callable[[int], None]) -> None:
    """Write one split as ``<split>-00000-of-00001.parquet``, a group of rows in memory at a time.

    Columns are ``image`` struct<bytes, path> and ``label`` int64; class names are in the schema metadata under ``huggingface``.

    Args:
        folder: where to write.
        data: the data set.
        split: which of its splits.
        wrote: called with the number of images in each group written.

    Raises:
        InputError: from the images.
        OSError: the disk is full or fails.
    """
    feature = {"_type": "ClassLabel", "names": list(data.class_names)}
    metadata = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image_type), ("label", pa.int64())], metadata={"huggingface": json.dumps(metadata)})
    part, start = data.splits[split], 0
    with pq.ParquetWriter(folder / f"{split}-00000-of-00001.parquet", schema) as writer:
        for group in _groups(part.images):
            images = pa.array([{"bytes": encoded, "path": name} for name, encoded in group], image_type)
            labels = pa.array(part.labels[start : start + len(group)])
            writer.write_batch(pa.record_batch([images, labels], schema=schema))
            start += len(group)
            wrote(len(group))
    assert start == len(part.labels), f"{start} images for {len(part.labels)} labels"


def _groups(images: Iterable[NamedImage]) -> Iterator[list[NamedImage]]:
    group: list[NamedImage] = []
    size = 0
    for name, encoded in images:
        group.append((name, encoded))
        size += len(encoded)
        if len(group) == _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
