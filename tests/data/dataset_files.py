"""Small Parquet files and images for the tests of hmdc_ray.data."""

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
from PIL import Image

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
    """Write columns (called 'image' and 'label' unless said otherwise) and class names to a Parquet file."""
    image, label = columns.get("image", "image"), columns.get("label", "label")
    labels = labels if isinstance(labels, pa.Array) else pa.array(labels)
    table = pa.table({image: images, label: labels})
    if names is not None:
        features = {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": list(names)}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path
