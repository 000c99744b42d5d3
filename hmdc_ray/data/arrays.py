"""Labelled images from arrays in ``.npz`` files and files of ``torch.save``, and from torchvision's
data sets."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torchvision import datasets

from hmdc_ray.data.containers import Array, Layout, layout_of, read_parts
from hmdc_ray.data.decode import image_from_array
from hmdc_ray.data.encoded import EncodedImages, EncodedSplit, Findings, NamedImage, encode_png
from hmdc_ray.data.label_arrays import ClassNumbers, class_numbers, without_images
from hmdc_ray.data.limits import check_arrays
from hmdc_ray.data.safe import load_torch
from hmdc_ray.data.schema import Labels, Split
from hmdc_ray.errors import InputError, closest, listed

TORCHVISION: dict[str, type[Any]] = {
    "cifar10": datasets.CIFAR10,
    "cifar100": datasets.CIFAR100,
    "mnist": datasets.MNIST,
    "fashionmnist": datasets.FashionMNIST,
    "svhn": datasets.SVHN,
}
"""Data sets that torchvision can download, by their names in small letters."""

Arrays = dict[Split, tuple[Array, Array]]
"""Images and labels of each split."""


def read_npz(path: Path) -> EncodedImages:
    """Images of an ``.npz`` file with arrays ``images, labels``, or
    ``x_train, y_train, x_test, y_test``, or MedMNIST's names.

    Arrays are found by their names, or by class, as :func:`hmdc_ray.data.containers.read_parts`
    says. Images are 8-bit, (N, H, W), (N, H, W, C) or (N, C, H, W); labels (N,) or (N, 1), whole
    numbers from 0 or strings, or one-hot rows.

    Raises:
        InputError: not such a file (pickled objects are refused), one that unpacks to far more than
            its size, or arrays of another kind, or that may be read in two ways.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no archive")
        check_arrays(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except InputError:
        raise
    except Exception as error:  # broken bytes can fail anywhere in the reader
        raise InputError(f"{path}: cannot be read as an .npz file of plain arrays: {error}") from error
    return _from_parts(path, arrays)


def read_pt(path: Path) -> EncodedImages:
    """Images of a file of ``torch.save``: the same containers and kinds as of :func:`read_npz`, a
    pair and a TensorDataset.

    Raises:
        InputError: not such a file, or tensors of another kind; nothing in it is executed.
    """
    return _from_parts(path, load_torch(path))


def _from_parts(path: Path, content: Any) -> EncodedImages:
    parts = read_parts(content, path)
    if "train" not in parts:
        raise InputError(f"{path}: no array images (or x_train, train_images): it has {listed(content)}")
    arrays: Arrays = {}
    for split, part in parts.items():
        if part.labels is None:
            has = f"; it has {listed(content)}" if isinstance(content, dict) else ""
            raise InputError(f"{path}: the {split} images have no array labels{has}")
        arrays[split] = part.images, part.labels
    first = parts["train"]
    classes = max((part.classes for part in parts.values() if part.classes is not None), default=None)
    notes = dict.fromkeys(part.note for part in parts.values() if part.note)
    return _encode(str(path), arrays, first.class_names, classes=classes, notes=tuple(notes))


def read_torchvision(name: str, root: Path) -> EncodedImages:
    """A data set of torchvision, from its files under ``root``; downloaded there only when they are
    missing.

    Args:
        name: name of the data set, one of :data:`TORCHVISION`, in any case.
        root: folder of the raw files.

    Raises:
        InputError: unknown name, or the files are missing or broken and cannot be downloaded.
    """
    known = name.lower()
    if known not in TORCHVISION:
        raise InputError(f"torchvision:{name} is not known; {closest(known, TORCHVISION)}")
    arrays: Arrays = {}
    for split in ("train", "test"):
        loaded = _load(known, root, split)
        labels = loaded.labels if known == "svhn" else loaded.targets
        arrays[split] = np.asarray(loaded.data), np.asarray(labels)
    classes = getattr(loaded, "classes", None) or [str(digit) for digit in range(10)]
    return _encode(f"torchvision:{known}", arrays, tuple(text.split(" - ")[0] for text in classes))  # MNIST has '0 - zero'


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


def _encode(
    source: str,
    arrays: Arrays,
    names: tuple[str, ...] | None,
    *,
    classes: int | None = None,
    notes: tuple[str, ...] = (),
) -> EncodedImages:
    """Check the arrays, and turn their images into PNG files as they are asked for.

    Args:
        source: name of the source, for errors.
        arrays: images (N, ...) and labels (N, ...) of each split, not yet checked.
        names: class names, where the source has them.
        classes: number of classes, where the source says it.
        notes: lines so far on how the source was read.
    """
    placed: dict[Split, npt.NDArray[np.uint8]] = {}
    labels: dict[Split, npt.NDArray[Any] | ClassNumbers] = {}
    told = [*notes]
    for split, (images, given) in arrays.items():
        placed[split], layout = _placed(source, split, images)
        labels[split] = _labels(source, split, given, len(images))
        told.append(f"images are uint8, {layout}: pixels 0 to 255" if layout else "")
    names, indices, note = _index(source, labels, names, classes)
    told += [part.note for part in labels.values() if isinstance(part, ClassNumbers)]
    return EncodedImages(
        names,
        {split: EncodedSplit(indices[split], _png_images(source, split, placed[split])) for split in arrays},
        findings=Findings(taken=tuple(dict.fromkeys(filter(None, [*told, note])))),
    )


def _placed(source: str, split: Split, images: Array) -> tuple[npt.NDArray[np.uint8], Layout | None]:
    """Images with their channels last, and how they came."""
    kind, shape = images.dtype, tuple(images.shape)
    if str(kind) not in ("uint8", "torch.uint8") or len(shape) not in (3, 4):
        raise InputError(
            f"{source}: {split} images are {kind} of shape {shape}; expected uint8, (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    array = np.asarray(images)
    try:
        layout = layout_of(shape)
    except InputError as error:
        raise InputError(f"{source}: {split} {error}") from error
    return array.transpose(0, 2, 3, 1) if layout == "N x C x H x W" else array, layout


def _labels(source: str, split: Split, labels: Array, count: int) -> npt.NDArray[Any] | ClassNumbers:
    """Texts as they are, anything else as class numbers."""
    if len(labels) != count:
        raise InputError(f"{source}: {split} labels have shape {tuple(labels.shape)} for {count} images; expected one each")
    if isinstance(labels, np.ndarray) and labels.dtype.kind == "U" and labels.size == count:
        return labels.reshape(-1)
    try:
        return class_numbers(labels)
    except InputError as error:
        raise InputError(f"{source}: {split} {error}; expected one each, or strings") from error


def _index(
    source: str, labels: dict[Split, npt.NDArray[Any] | ClassNumbers], names: tuple[str, ...] | None, classes: int | None
) -> tuple[tuple[str, ...], dict[Split, Labels], str]:
    """Class names, class numbers of each split, and a line on where the names are from."""
    numbers = {split: part for split, part in labels.items() if isinstance(part, ClassNumbers)}
    texts = {split: part for split, part in labels.items() if not isinstance(part, ClassNumbers)}
    if texts:
        if numbers:
            raise InputError(f"{source}: {next(iter(texts))} labels are strings, but {next(iter(numbers))} labels are numbers")
        found = np.unique(np.concatenate(list(texts.values())))
        indices = {split: np.searchsorted(found, text).astype(np.int64) for split, text in texts.items()}
        return tuple(found.tolist()), indices, ""
    every = np.concatenate([part.labels for part in numbers.values()])
    if not len(every):
        raise InputError(f"{source}: there are no images")
    said = {len(names)} if names is not None else {part.classes for part in numbers.values() if part.classes} | {classes or 0}
    known, highest = sorted(said - {0}), int(every.max())
    if len(known) > 1 or (known and highest >= known[0]):
        raise InputError(f"{source}: label {highest} is the highest, but the classes are {' or '.join(map(str, known))}")
    count = known[0] if known else highest + 1
    counted = "" if known else f"{count} class{'es' if count > 1 else ''}, from the highest label"
    names = names or tuple(map(str, range(count)))
    note = "; ".join(filter(None, [counted, without_images(every.tolist(), names)]))
    return names, {split: part.labels for split, part in numbers.items()}, note


def _png_images(source: str, split: Split, images: npt.NDArray[Any]) -> Iterator[NamedImage]:
    for row, image in enumerate(images):
        try:
            yield f"{split}/{row}.png", encode_png(image_from_array(image))
        except InputError as error:
            raise InputError(f"{source}, {split} image {row}: {error}") from error
