"""Encoded images on their way into Parquet files of the Hugging Face layout, and what was noticed
while they were read."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hmdc_ray.config.statistics import KNOWN
from hmdc_ray.data.schema import Labels, Split

_GROUP_ROWS = 1000
_GROUP_BYTES = 16 << 20

_IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

PREPARED_KEY = "hmdc_ray_prepared"
"""Key of the file's metadata under which ``hmdc prepare`` keeps what it found, and the source."""

MOST_NAMES = 1000
"""Most names of broken images that are kept; further ones are only counted."""

TORCHVISION_PREFIX = "torchvision:"
"""Prefix of a source that names a data set of torchvision."""

NamedImage = tuple[str, bytes]
"""Name of an image, for messages, and its encoded bytes."""


@dataclass
class Findings:
    """Counts by what they are about, as a person reads them. It grows while images are read.

    Attributes:
        taken: lines on how the source was read.
        left_out: files that were left out, by the reason: ``'.txt files'``,
            ``'links out of the folder'``.
        treated: images that were changed or read in part, by how:
            ``'16-bit images scaled to 8 bits'``.
        broken: names of images that could not be decoded and were skipped, each with the reason.
        broken_count: number of these, of which at most :data:`MOST_NAMES` are named.
    """

    taken: tuple[str, ...] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    treated: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    broken_count: int = 0

    def skip(self, name: str, reason: str) -> None:
        """Note an image that cannot be decoded and is skipped."""
        self.broken_count += 1
        if len(self.broken) < MOST_NAMES:
            self.broken.append(f"{name}: {reason}")

    def lines(self) -> tuple[str, ...]:
        """One line for each finding, the most frequent first."""
        lines = [*self.taken]
        lines += [f"{reason}, left out: {count:,}" for reason, count in self.left_out.most_common()]
        lines += [f"{how}: {count:,}" for how, count in self.treated.most_common()]
        if self.broken_count:
            named = "; ".join(self.broken[:3]) + ("; .." if self.broken_count > 3 else "")
            lines.append(f"broken images, left out: {self.broken_count:,} ({named})")
        return tuple(lines)


@dataclass(frozen=True)
class EncodedSplit:
    """Images of one split.

    Attributes:
        labels: class index of each image, (n,).
        images: n named images in the order of the labels, None for one that is skipped; can be
            iterated over once.
    """

    labels: Labels
    images: Iterable[NamedImage | None]


@dataclass(frozen=True)
class EncodedImages:
    """A labelled data set of encoded images.

    Attributes:
        class_names: one name per label, in label order.
        splits: the splits that the source has.
        findings: record of what was left out and assumed; complete when all images have been
            iterated over.
    """

    class_names: tuple[str, ...]
    splits: dict[Split, EncodedSplit]
    findings: Findings = field(default_factory=Findings)


def encode_png(image: Image.Image) -> bytes:
    """The image as lossless PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def open_writer(folder: Path, data: EncodedImages, split: Split) -> pq.ParquetWriter:
    """Begin ``<split>-00000-of-00001.parquet`` with columns ``image`` struct<bytes, path> and
    ``label`` int64.

    Class names are in the schema metadata under ``huggingface``.

    Raises:
        OSError: the file cannot be written.
    """
    feature = {"_type": "ClassLabel", "names": list(data.class_names)}
    metadata = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
    schema = pa.schema([("image", _IMAGE_TYPE), ("label", pa.int64())], metadata={"huggingface": json.dumps(metadata)})
    return pq.ParquetWriter(folder / f"{split}-00000-of-00001.parquet", schema)


def write_split(
    writer: pq.ParquetWriter, data: EncodedImages, split: Split, wrote: Callable[[int], None]
) -> npt.NDArray[np.int64]:
    """Write the images of one split, a group of rows in memory at a time.

    Args:
        writer: the split's writer, from :func:`open_writer`.
        data: the data set; images that are None are skipped.
        split: one of its splits.
        wrote: callback that gets the number of images processed since its last call.

    Returns:
        (K,) number of images written of each class.

    Raises:
        InputError: an image cannot be read.
        OSError: the disk is full or fails.
    """
    part, counts = data.splits[split], np.zeros(len(data.class_names), np.int64)
    for group, read in _groups(zip(part.labels.tolist(), part.images, strict=True)):
        images = pa.array([{"bytes": encoded, "path": name} for _, (name, encoded) in group], _IMAGE_TYPE)
        labels = np.array([label for label, _ in group], np.int64)
        writer.write_batch(pa.record_batch([images, pa.array(labels)], schema=writer.schema))
        counts += np.bincount(labels, minlength=len(counts))
        wrote(read)
    return counts


def write_findings(writer: pq.ParquetWriter, data: EncodedImages, source: str) -> None:
    """Keep in the file's metadata, as JSON under :data:`PREPARED_KEY`, its ``source``, what was
    found (``notes``), and the names of the ``broken`` images that were left out."""
    found = data.findings
    writer.add_key_value_metadata(
        {PREPARED_KEY: json.dumps({"source": source, "notes": found.lines(), "broken": found.broken})}
    )


def prepared_notes(metadata: Mapping[bytes, bytes] | None) -> tuple[str, ...]:
    """The notes of :func:`write_findings` in a file's metadata; none where another program wrote
    the file."""
    try:
        notes = json.loads((metadata or {})[PREPARED_KEY.encode()])["notes"]
        return tuple(str(note) for note in notes)
    except (KeyError, ValueError, TypeError, RecursionError):  # of another program's file: nothing that a run depends on
        return ()


def prepared_source(metadata: Mapping[bytes, bytes] | None) -> str | None:
    """Which of :data:`hmdc_ray.config.statistics.KNOWN` :func:`write_findings` recorded as the
    source; None: none of them."""
    try:
        source = json.loads((metadata or {})[PREPARED_KEY.encode()])["source"].lower()
        name = source.removeprefix(TORCHVISION_PREFIX)
        return name if name != source and name in KNOWN else None
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):  # as above
        return None


def _groups(pairs: Iterable[tuple[int, NamedImage | None]]) -> Iterator[tuple[list[tuple[int, NamedImage]], int]]:
    """Groups of labels and images to be written at once, and the number of images processed,
    skipped ones included."""
    group: list[tuple[int, NamedImage]] = []
    size = read = 0
    for label, image in pairs:
        read += 1
        if image is not None:
            group.append((label, image))
            size += len(image[1])
        if read == _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group, read
            group, size, read = [], 0, 0
    if read:
        yield group, read
