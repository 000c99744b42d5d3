"""8-bit images in a folder per class, to look at and for other tools; an export has an
``index.json`` beside the folders.

An exported file is a *stored* image: with f > 1 it shows f x f training images. The folder of class
3, 'sea lion', is ``3_sea_lion``; the index keeps the name as it is, the order of the images, and
everything else that a set holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor

from hmdc_ray.condensed import CondensedSet, Metadata, pictures
from hmdc_ray.data.decode import decode, open_encoded, read_encoded
from hmdc_ray.data.encoded import NamedImage
from hmdc_ray.data.image_folder import read_image_folder
from hmdc_ray.data.limits import check_expansion
from hmdc_ray.data.safe import read_text
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import FileContents, ImportOptions

INDEX_FILE = "index.json"


class _Index(BaseModel):
    """Content of ``index.json``: the path of each image within the folder, its label, and the
    metadata of the set."""

    files: tuple[str, ...]
    labels: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...]
    metadata: Metadata


def read(path: Path, stated: ImportOptions) -> FileContents:
    """The images that ``index.json`` lists; without one, all images in the folders, whose sorted
    names are the classes.

    Raises:
        InputError: no such folder, a file that is missing, outside of the folder or no image,
            images of several sizes.
    """
    if not path.is_dir():
        raise InputError(f"{path} is {'a file' if path.exists() else 'not there'}: give a folder with a folder per class")
    if (path / INDEX_FILE).is_file():
        return _read_indexed(path, _read_index(path / INDEX_FILE))
    data = read_image_folder(path)
    if set(data.splits) != {"train"}:
        raise InputError(f"{path} has splits {', '.join(sorted(data.splits))}: give the folder of one, with a folder per class")
    split = data.splits["train"]
    images = _decode(path, (image for image in split.images if image is not None))
    return FileContents(images, torch.from_numpy(split.labels), scale="pixel", formation=1, class_names=data.class_names)


def write(folder: Path, condensed: CondensedSet) -> None:
    """Write a PNG file per stored image, its pixels clamped and rounded to 8 bits, and the index.

    Raises:
        OSError: the files cannot be written.
    """
    digits, columns = len(str(len(condensed.class_names) - 1)), len(str(len(condensed.images) - 1))
    folders = [f"{label:0{digits}d}_{_safe(name)}" for label, name in enumerate(condensed.class_names)]
    labels = tuple(condensed.labels.tolist())
    files = tuple(f"{folders[label]}/{row:0{columns}d}.png" for row, label in enumerate(labels))
    for name in folders:
        (folder / name).mkdir()
    for name, picture in zip(files, pictures(condensed), strict=True):
        (folder / name).write_bytes(picture)
    index = _Index(files=files, labels=labels, metadata=Metadata.of(condensed))
    (folder / INDEX_FILE).write_text(index.model_dump_json(indent=2), encoding="utf-8")


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "_", name)[:60].strip("_") or "class"


def _read_index(path: Path) -> _Index:
    try:
        index = _Index.model_validate_json(read_text(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}, {'.'.join(map(str, first['loc'])) or 'text'}: {first['msg']}") from error
    if len(index.files) != len(index.labels) or not index.files:
        raise InputError(f"{path} lists {len(index.files)} files and {len(index.labels)} labels, must be as many, at least one")
    return index


def _read_indexed(folder: Path, index: _Index) -> FileContents:
    metadata = index.metadata
    paths = [_listed(folder, name) for name in index.files]
    pixels = _decode(folder, ((name, read_encoded(path)) for name, path in zip(index.files, paths, strict=True)))
    low, high = metadata.value_range
    return FileContents(
        pixels * (high - low) + low,
        torch.tensor(index.labels, dtype=torch.int64),
        scale="pixel",
        metadata=metadata,
    )


def _listed(folder: Path, name: str) -> Path:
    """The file that the index calls ``name``, which links may not lead out of the folder."""
    path = folder / name
    try:
        inside, there = path.resolve().is_relative_to(folder.resolve()), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a name that no file can have, or links in a circle
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder / INDEX_FILE} lists {name[:100]!r}, which cannot be read: {reason}") from error
    if not inside:
        raise InputError(f"{folder / INDEX_FILE} lists {name[:100]!r}, which is outside of the folder")
    if not there:
        raise InputError(f"{path} does not exist, but {INDEX_FILE} lists it")
    return path


def _decode(folder: Path, files: Iterable[NamedImage]) -> Tensor:
    """Pixels of all files, float32 (N, C, H, W), 0 to 1; the first one sets the shape."""
    first: Image.Image | None = None
    pixels, packed, unpacked = [], 0, 0
    for name, data in files:
        try:
            opened = open_encoded(data)
            packed += len(data)
            unpacked += opened.height * opened.width * len((first or opened).getbands()) * torch.float32.itemsize
            check_expansion(folder, unpacked, packed)
            image = decode(opened)
            first = first or image
            if image.size != first.size or (first.mode == "L" and image.mode != "L"):
                raise InputError(
                    f"is {image.height} x {image.width}, mode {image.mode}; must be as the first image, "
                    f"{first.height} x {first.width}, {'grey' if first.mode == 'L' else 'colour'}"
                )
            pixels.append(np.asarray(image.convert(first.mode)))
        except InputError as error:
            raise InputError(f"{folder / name}: {error}") from error
    images = torch.from_numpy(np.stack(pixels)).float() / 255
    return images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
