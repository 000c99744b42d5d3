"""The condensed set: learned images with all that is needed to train on them, in memory and as one
Parquet file.

Shapes: N stored images, f formation factor, C x H x W an image, K classes. A stored image is
*packed*: it holds f x f training images (see :mod:`hmdc_ray.data.packing`). Images are kept
*normalised*, the space they were learned in: ``pixels = image * std + mean`` per channel.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import BaseModel, Field, FiniteFloat, ValidationError
from torch import Tensor
from torch.utils.data import Dataset

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import CONDENSED_FILE
from hmdc_ray.data.decode import image_from_array
from hmdc_ray.data.encoded import encode_png
from hmdc_ray.data.limits import check_parquet
from hmdc_ray.data.packing import Decoding, check_formation, check_formation_range, decode, decode_as_idc
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.models.normalisation import Normalisation
from hmdc_ray.system.files import atomic_path, require_regular

METADATA_KEY = b"hmdc_ray"


def _package_version() -> str:
    return installed_version("hmdc-ray")


@dataclass(frozen=True, eq=False, repr=False)
class CondensedSet(Dataset[tuple[Tensor, int]]):
    """Condensed images and labels; as a data set, its items are the *decoded* (image (C, H, W)
    normalised, label) pairs.

    Attributes:
        images: stored, packed images, float32 (N, C, H, W), normalised, finite; not clipped to the
            pixel range.
        labels: class indices, int64 (N,), 0 to K - 1.
        class_names: names of the K classes, in the order of the labels.
        mean: mean per channel, on the scale of ``value_range``.
        std: standard deviation per channel, positive.
        formation: factor f, 1 to 8; divides H and W, unless ``decoding`` is ``idc``.
        value_range: lowest and highest value of a pixel that can be shown.
        config: configuration of the run that made the images; None when unknown.
        fingerprint: fingerprint of the data that the images were learned from; None when unknown.
        version: version of this package that made the images.
        decoding: rule by which training images are cut from stored ones, see
            :data:`hmdc_ray.data.packing.Decoding`; ``idc`` for sets of IDC's code.

    Raises:
        InputError: the parts do not fit together, or a pixel is not finite.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    formation: int = 1
    value_range: tuple[float, float] = (0.0, 1.0)
    config: dict[str, Any] | None = None
    fingerprint: str | None = None
    version: str = field(default_factory=_package_version)
    decoding: Decoding = "aligned"

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def learned(cls, images_KICHW: np.ndarray, info: DatasetInfo, config: RunConfig) -> CondensedSet:
        """The set that a run has learned from the data that ``info`` describes; ``images_KICHW``
        are K classes of I images."""
        classes, ipc = images_KICHW.shape[:2]
        return cls(
            images=torch.tensor(images_KICHW, dtype=torch.float32).flatten(0, 1),
            labels=torch.arange(classes).repeat_interleave(ipc),
            class_names=info.class_names,
            mean=info.mean,
            std=info.std,
            formation=config.images.formation,
            config=config.model_dump(mode="json"),
            fingerprint=info.fingerprint,
        )

    def __repr__(self) -> str:
        size = "x".join(map(str, self.images.shape[1:]))
        return f"CondensedSet({len(self.images)} images {size}, {len(self.class_names)} classes, formation {self.formation})"

    def __len__(self) -> int:
        return len(self.images) * self.formation**2

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        tile, stored = divmod(index % len(self), len(self.images))
        return self._decode(self.images[stored : stored + 1])[tile], int(self.labels[stored])

    @property
    def ipc(self) -> int:
        """Stored images of a class: the largest number, if classes differ."""
        return int(self.class_counts().max())

    def class_counts(self) -> np.ndarray:
        """Stored images of every class, int64 (K,)."""
        return np.bincount(self.labels.numpy(), minlength=len(self.class_names))

    def decoded(self) -> tuple[Tensor, Tensor]:
        """All training images, float32 (N f f, C, H, W), normalised, and their labels, int64 (N f
        f,)."""
        return self._decode(self.images), self.labels.repeat(self.formation**2)

    def _decode(self, images_NCHW: Tensor) -> Tensor:
        if self.decoding == "aligned":
            return decode(images_NCHW, self.formation)
        mean, std = self._statistics()
        return decode_as_idc(images_NCHW, self.formation, fill_C11=(sum(self.value_range) / 2 - mean) / std)

    @property
    def normalisation(self) -> Normalisation:
        """How the images are normalised, of pixels on the scale [0, 1]."""
        low, high = self.value_range
        mean = tuple((value - low) / (high - low) for value in self.mean)
        return Normalisation(mean, tuple(value / (high - low) for value in self.std))

    def normalise(self, images_BCHW: Tensor) -> Tensor:
        """Bring 8-bit pixels of real images, uint8 (B, C, H, W), into the space of the condensed
        ones, float32."""
        mean, std = (values.to(images_BCHW.device) for values in self._statistics())
        return (images_BCHW.float() / 255 - mean) / std

    def pixels(self) -> Tensor:
        """The stored images as they are shown, float32 (N, C, H, W), clamped to [0, 1]."""
        mean, std = self._statistics()
        low, high = self.value_range
        return ((self.images * std + mean - low) / (high - low)).clamp(0, 1)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(self.mean).view(-1, 1, 1), torch.tensor(self.std).view(-1, 1, 1)


def _check(condensed: CondensedSet) -> None:
    images, labels, classes = condensed.images, condensed.labels, len(condensed.class_names)
    if images.ndim != 4 or images.dtype != torch.float32 or images.numel() == 0:
        raise InputError(f"images are {images.dtype} {tuple(images.shape)}, must be float32 (N, C, H, W), at least one")
    channels = images.shape[1]
    if channels not in (1, 3):
        raise InputError(f"images have {channels} channels, must be 1 (grey) or 3 (colour)")
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise InputError(
            f"labels are {labels.dtype} {tuple(labels.shape)}, must be int64, one for each of {len(images)} images"
        )
    for row, label in enumerate(labels.tolist()):
        if not 0 <= label < classes:
            raise InputError(f"label of row {row} is {label}, must be 0 to {classes - 1} ({classes} classes)")
    finite = images.flatten(1).isfinite().all(dim=1)
    if not finite.all():
        raise InputError(f"pixels of row {int(finite.int().argmin())} are not all finite numbers")
    if not len(condensed.mean) == len(condensed.std) == channels:
        raise InputError(
            f"mean and std have {len(condensed.mean)} and {len(condensed.std)} values, must be {channels}, the channels"
        )
    if not all(map(math.isfinite, condensed.mean)) or not all(0 < value < math.inf for value in condensed.std):
        raise InputError(f"mean {condensed.mean} and std {condensed.std} must be finite, std above 0")
    if not condensed.value_range[0] < condensed.value_range[1]:
        raise InputError(f"value_range is {condensed.value_range}, must be lowest and highest pixel value")
    if condensed.decoding == "aligned":
        height, width = images.shape[2:]
        check_formation(condensed.formation, height, width, "formation")
    else:
        check_formation_range(condensed.formation, "formation")


_SHARED = ("version", "class_names", "mean", "std", "formation", "value_range", "config", "decoding")
"""Attributes that a set and its metadata have under the same names."""


class Metadata(BaseModel):
    """What a file says of a condensed set beside images and labels, as JSON; see
    :class:`CondensedSet` for the fields.

    ``shape`` is (C, H, W) of a stored image.
    """

    version: str
    class_names: tuple[str, ...]
    mean: tuple[FiniteFloat, ...]
    std: tuple[FiniteFloat, ...]
    formation: Annotated[int, Field(ge=1)]
    value_range: tuple[FiniteFloat, FiniteFloat]
    shape: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    config: dict[str, Any] | None
    data_fingerprint: str | None
    decoding: Decoding = "aligned"

    @classmethod
    def of(cls, condensed: CondensedSet) -> Metadata:
        """What is to be written beside the images and labels of a set."""
        _, channels, height, width = condensed.images.shape
        shared = {name: getattr(condensed, name) for name in _SHARED}
        return cls(shape=(channels, height, width), data_fingerprint=condensed.fingerprint, **shared)

    @classmethod
    def parse(cls, text: str | bytes) -> Metadata:
        """Read the JSON text.

        Raises:
            InputError: not JSON, or a field is missing or wrong.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "text"
            raise InputError(f"metadata of the condensed set, {place}: {first['msg']}") from error

    def restore(self, images: Tensor, labels: Tensor) -> CondensedSet:
        """The set that was written, from its images (N, C, H, W), normalised, and labels (N,).

        Raises:
            InputError: the parts do not fit together.
        """
        if tuple(images.shape[1:]) != self.shape:
            raise InputError(f"images have shape {list(images.shape)}, must be N of {list(self.shape)}, as their metadata says")
        shared = {name: getattr(self, name) for name in _SHARED}
        return CondensedSet(images, labels, fingerprint=self.data_fingerprint, **shared)


def save_condensed(path: Path, condensed: CondensedSet) -> None:
    """Write one row a stored image: ``image`` (8-bit PNG, to look at), ``pixels`` (the exact
    normalised values), ``label``.

    Hugging Face ``datasets`` reads the file as it is: images, and labels with class names.
    Everything else is in the schema metadata, as JSON under ``hmdc_ray``.

    Raises:
        InputError: the file cannot be written; see :func:`hmdc_ray.system.files.atomic_path`.
    """
    count, *shape = condensed.images.shape
    values = pa.array(condensed.images.detach().cpu().contiguous().numpy().reshape(-1))
    offsets = pa.array(np.arange(count + 1) * math.prod(shape), pa.int32())
    columns = {
        "image": pa.array(
            [{"bytes": picture, "path": f"{row:05d}.png"} for row, picture in enumerate(pictures(condensed))],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        ),
        "pixels": pa.ListArray.from_arrays(offsets, values),
        "label": pa.array(condensed.labels.cpu().numpy()),
    }
    features = {
        "image": {"_type": "Image"},
        "pixels": {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"},
        "label": {"names": list(condensed.class_names), "_type": "ClassLabel"},
    }
    table = pa.table(columns).replace_schema_metadata(
        {METADATA_KEY: Metadata.of(condensed).model_dump_json(), b"huggingface": json.dumps({"info": {"features": features}})}
    )
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def pictures(condensed: CondensedSet) -> list[bytes]:
    """The stored images as 8-bit PNG files, clamped to the pixel range, N of them."""
    pixels_NHWC = (condensed.pixels() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [encode_png(image_from_array(image_HWC)) for image_HWC in pixels_NHWC]


def load_condensed(path: str | Path) -> CondensedSet:
    """Read what :func:`save_condensed` wrote, bit for bit.

    Args:
        path: the file, or a run's folder that holds ``condensed.parquet``.

    Raises:
        InputError: no such file, or it is broken; names the file and what is wrong with it.
    """
    file = Path(path)
    if file.is_dir():
        file /= CONDENSED_FILE
    require_regular(file)
    if not file.is_file():
        raise InputError(f"{file} does not exist: give a run's folder or its {CONDENSED_FILE}")
    try:
        with pq.ParquetFile(file) as parquet:
            check_parquet(file, parquet)
            table = parquet.read()
    except InputError:
        raise
    except Exception as error:  # broken bytes can fail anywhere in the reader
        raise InputError(f"{file} is not a readable Parquet file: {error}") from error
    try:
        metadata = _read_metadata(table.schema)
        return metadata.restore(_read_pixels(table, metadata.shape), _read_labels(table))
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def _read_metadata(schema: pa.Schema) -> Metadata:
    text = (schema.metadata or {}).get(METADATA_KEY)
    if text is None:
        raise InputError("no metadata of a condensed set in its schema: was it written by save_condensed?")
    return Metadata.parse(text)


def _column(table: pa.Table, name: str, kind: str, fits: bool) -> pa.Array:
    if not fits:
        raise InputError(f"column {name!r} holds {table.schema.field(name).type}, must be {kind}")
    column = table.column(name).combine_chunks()
    if column.null_count:
        raise InputError(f"column {name!r} has empty rows: {column.null_count} of {len(column)}")
    return column


def _read_pixels(table: pa.Table, shape: tuple[int, int, int]) -> Tensor:
    kind = _column_type(table, "pixels")
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    column = _column(table, "pixels", "lists of float32", is_list and pa.types.is_float32(kind.value_type))
    expected = math.prod(shape)
    for row, length in enumerate(column.value_lengths().to_pylist()):
        if length != expected:
            raise InputError(f"pixels of row {row} are {length} values, must be {expected}, for images of shape {list(shape)}")
    values = column.flatten()
    if values.null_count:
        raise InputError(f"column 'pixels' has empty values: {values.null_count} of {len(values)}")
    return torch.from_numpy(values.to_numpy().reshape(-1, *shape).copy())


def _read_labels(table: pa.Table) -> Tensor:
    column = _column(table, "label", "integers", pa.types.is_integer(_column_type(table, "label")))
    return torch.from_numpy(column.to_numpy().astype(np.int64))


def _column_type(table: pa.Table, name: str) -> pa.DataType:
    if name not in table.column_names:
        raise InputError(f"no column {name!r}: has {', '.join(table.column_names) or 'none'}")
    return table.schema.field(name).type
