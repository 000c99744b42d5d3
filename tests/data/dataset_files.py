"""Small Parquet files and folders of images, and how the tests of this folder open them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import ImageDataset, open_dataset
from hmdc_ray.data.schema import SPLITS
from hmdc_ray.errors import InputError

IMAGE_STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def random_images(count: int, *shape: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def encode(image: npt.NDArray[Any] | Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, format=kind)
    return buffer.getvalue()


def structs(images: Iterable[npt.NDArray[Any]]) -> pa.Array:
    return pa.array([{"bytes": encode(image), "path": None} for image in images], IMAGE_STRUCT)


def write(path: Path, images: pa.Array, labels: Any, names: Sequence[str] | None = None, **columns: str) -> Path:
    """Write columns (called 'image' and 'label' unless said otherwise) and class names to a Parquet
    file."""
    image, label = columns.get("image", "image"), columns.get("label", "label")
    labels = labels if isinstance(labels, pa.Array) else pa.array(labels)
    table = pa.table({image: images, label: labels})
    if names is not None:
        features = {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": list(names)}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def write_folder(folder: Path, images: Any, labels: Any, **options: Any) -> Path:
    """A folder whose training, validation and test files all hold the same rows."""
    for split in SPLITS:
        write(folder / f"{split}-00000-of-00001.parquet", images, labels, **options)
    return folder


def opened(tmp_path: Path, source: Path | str, **fields: Any) -> ImageDataset:
    """The data set, without a validation split unless ``fields`` or the source's files say
    otherwise."""
    fields = {"validation_fraction": 0, **fields}
    return open_dataset(DataConfig(source=str(source), cache=str(tmp_path / "cache"), **fields))


def refusal(tmp_path: Path, source: Path | str, **fields: Any) -> str:
    """The line with which a data set is refused; nothing decoded is left of it."""
    before = set((tmp_path / "cache").glob("*.arrow"))
    with pytest.raises(InputError) as caught:
        opened(tmp_path, source, **fields)
    assert "\n" not in str(caught.value)
    assert set((tmp_path / "cache").glob("*.arrow")) == before and not list((tmp_path / "cache").glob("*.partial"))
    return str(caught.value)


IMAGES = random_images(12, 4, 4)


def table(tmp_path: Path, features: dict[str, Any] | None = None, name: str = "data.parquet", **columns: Any) -> Path:
    """A Parquet file of :data:`IMAGES` with these columns beside, and features in its metadata."""
    tmp_path.mkdir(exist_ok=True)
    written = pa.table({"image": structs(IMAGES), **columns})
    if features is not None:
        written = written.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(written, tmp_path / name)
    return tmp_path / name


def write_classes(folder: Path, count: int = 3, seed: int = 0, names: tuple[str, ...] = ("cat", "ant")) -> Path:
    """A folder per class with ``count`` images of 4x5 pixels, the first at its top and the others
    deeper."""
    for label, name in enumerate(names):
        (folder / name / "deeper").mkdir(parents=True)
        for row, image in enumerate(random_images(count, 4, 5, 3, seed=seed + label)):
            (folder / name / ("deeper" if row else "") / f"{row}.PNG").write_bytes(encode(image))
    return folder
