"""Labelled images from arrays in ``.npz`` files, and from torchvision's data sets."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torchvision import datasets

from hmdc_ray.data.decode import image_from_array
from hmdc_ray.data.encoded import EncodedImages, EncodedSplit, NamedImage, encode_png
from hmdc_ray.data.limits import check_arrays
from hmdc_ray.data.schema import Labels, Split
from hmdc_ray.errors import InputError, closest

TORCHVISION: dict[str, type[Any]] = {
    "cifar10": datasets.CIFAR10,
    "cifar100": datasets.CIFAR100,
    "mnist": datasets.MNIST,
    "fashionmnist": datasets.FashionMNIST,
    "svhn": datasets.SVHN,
}
"""Data sets that torchvision can download, by the name used here."""

# The names of the arrays in each split: plain, Keras's, MedMNIST's.
_ARRAY_NAMES: tuple[tuple[Split, str, str], ...] = (
    ("train", "images", "labels"),
    ("train", "x_train", "y_train"),
    ("test", "x_test", "y_test"),
    ("train", "train_images", "train_labels"),
    ("validation", "val_images", "val_labels"),
    ("test", "test_images", "test_labels"),
)

Arrays = dict[Split, tuple[npt.NDArray[Any], npt.NDArray[Any]]]
"""Images and labels of each split."""


def read_npz(path: Path) -> EncodedImages:
    """Images of an ``.npz`` file with arrays ``images, labels``, or ``x_train, y_train, x_test, y_test``, or MedMNIST's names.

    Images are 8-bit, (N, H, W), (N, H, W, C) or (N, C, H, W); labels (N,) or (N, 1), integers from 0 or strings.

    Raises:
        InputError: not such a file (pickled objects are refused), one that unpacks to far more than its size, or arrays of
            another kind.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no archive")
        check_arrays(path)
        with np.load(path, allow_pickle=False) as file:
            present = [names for names in _ARRAY_NAMES if names[1] in file]
            missing = [names[2] for names in present if names[2] not in file]
            if missing or "train" not in [split for split, *_ in present]:
                wanted = missing[0] if missing else "images (or x_train, or train_images)"
                raise InputError(f"{path}: no array {wanted}; it has {', '.join(file.files)}")
            if len({split for split, *_ in present}) < len(present):
                raise InputError(f"{path}: two arrays of images for one split: {', '.join(names[1] for names in present)}")
            arrays: Arrays = {split: (file[images], file[labels]) for split, images, labels in present}
    except InputError:
        raise
    except Exception as error:  # broken bytes can fail anywhere in the reader
        raise InputError(f"{path}: cannot be read as an .npz file of plain arrays: {error}") from error
    return _encode(str(path), arrays, None)


def read_torchvision(name: str, root: Path) -> EncodedImages:
    """A data set of torchvision, from its files under ``root``; downloaded there only when they are missing.

    Args:
        name: one of :data:`TORCHVISION`.
        root: folder of the raw files.

    Raises:
        InputError: unknown name, or the files are missing or broken and cannot be downloaded.
    """
    if name not in TORCHVISION:
        raise InputError(f"torchvision:{name} is not known; {closest(name, TORCHVISION)}")
    arrays: Arrays = {}
    for split in ("train", "test"):
        loaded = _load(name, root, split)
        labels = loaded.labels if name == "svhn" else loaded.targets
        arrays[split] = np.asarray(loaded.data), np.asarray(labels)
    classes = getattr(loaded, "classes", None) or [str(digit) for digit in range(10)]
    return _encode(f"torchvision:{name}", arrays, tuple(text.split(" - ")[0] for text in classes))  # MNIST has '0 - zero'


def _load(name: str, root: Path, split: Split) -> Any:
    which = {"split": split} if name == "svhn" else {"train": split == "train"}
    try:
        return TORCHVISION[name](root, **which)  # CIFAR's files are pickles; torchvision checks their sums before it opens them
    except RuntimeError:  # torchvision's word for files that are missing, or whose sums are wrong
        pass
    try:
        return TORCHVISION[name](root, download=True, **which)
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"torchvision:{name} is not in {root} and cannot be downloaded ({error});"
            " connect to the network, or copy torchvision's files there"
        ) from error


def _encode(source: str, arrays: Arrays, names: tuple[str, ...] | None) -> EncodedImages:
    flat: dict[Split, npt.NDArray[Any]] = {}
    for split, (images, labels) in arrays.items():
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise InputError(
                f"{source}: {split} images are {images.dtype} of shape {images.shape};"
                " expected uint8, (N, H, W), (N, H, W, C) or (N, C, H, W)"
            )
        if labels.size != len(images) or labels.ndim not in (1, 2):
            raise InputError(f"{source}: {split} labels have shape {labels.shape} for {len(images)} images; expected one each")
        flat[split] = labels.reshape(-1)
    names, indices = _index(source, flat, names)
    return EncodedImages(
        names, {split: EncodedSplit(indices[split], _png_images(source, split, arrays[split][0])) for split in arrays}
    )


def _index(
    source: str, labels: dict[Split, npt.NDArray[Any]], names: tuple[str, ...] | None
) -> tuple[tuple[str, ...], dict[Split, Labels]]:
    every = np.concatenate(list(labels.values()))
    if np.issubdtype(every.dtype, np.str_):
        found = np.unique(every)
        return tuple(found.tolist()), {split: np.searchsorted(found, text.astype(np.str_)) for split, text in labels.items()}
    if not np.issubdtype(every.dtype, np.integer):
        raise InputError(f"{source}: labels are {every.dtype}; expected integers from 0, or strings")
    present = np.unique(every)
    count = len(present) if names is None else len(names)
    wrong = present[(present < 0) | (present >= count)]
    if len(wrong):
        raise InputError(f"{source}: label {wrong[0]} is out of range; the {count} classes are labelled 0 to {count - 1}")
    names = names or tuple(str(label) for label in range(count))
    return names, {split: values.astype(np.int64) for split, values in labels.items()}


def _png_images(source: str, split: Split, images: npt.NDArray[Any]) -> Iterator[NamedImage]:
    for row, image in enumerate(images):
        try:
            yield f"{split}/{row}.png", encode_png(image_from_array(image))
        except InputError as error:
            raise InputError(f"{source}, {split} image {row}: {error}") from error
