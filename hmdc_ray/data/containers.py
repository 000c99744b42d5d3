"""Which arrays of a container are images and which are labels: by their names in a dict, or by
their places; and where images have their channels.

Nothing is guessed: what may be read in two ways is refused, and how the rest was read is reported.
Shapes: N images, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from hmdc_ray.data.label_arrays import MOST_CLASSES
from hmdc_ray.data.limits import check_expansion
from hmdc_ray.data.safe import plain_tensor
from hmdc_ray.data.schema import SPLITS, Split
from hmdc_ray.data.split_names import KEYWORDS
from hmdc_ray.errors import InputError, listed

Array: TypeAlias = Tensor | npt.NDArray[Any]

IMAGE_WORDS = frozenset(
    {"image", "images", "img", "imgs", "picture", "pictures", "pixels", "data", "x", "input", "inputs"},
)
"""Names of arrays of images, in any case, alone or with a keyword of a split: ``X``, ``x_train``,
``test_images``."""
LABEL_WORDS = frozenset({"label", "labels", "target", "targets", "class", "y"})
"""Names of arrays of labels, likewise."""

KNOWN_CONTAINERS = (
    "a tensor of images, nor [images, labels], nor a tensor of images a class, nor a dict with 'images' and 'labels' "
    "(or data, x, inputs; label, target, y)"
)

_Role = Literal["images", "labels"]
Layout = Literal["N x H x W", "N x C x H x W", "N x H x W x C"]

_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Parts:
    """Images and labels of one split, as a container has them: kinds and shapes are not yet
    checked.

    Attributes:
        images: array that should hold N images.
        labels: array that should hold N labels; None: the container has none.
        classes: number of classes K, where the container says it.
        class_names: K class names, where the container says them.
        note: line for the user on how the container was read.
    """

    images: Array
    labels: Array | None
    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    note: str = ""


def read_parts(content: Any, path: Path) -> dict[Split, Parts]:
    """Find images and labels in what a file holds.

    Args:
        content: an array of images; ``[images, labels]``, also as a ``TensorDataset``; a dict with
            names of :data:`IMAGE_WORDS` and :data:`LABEL_WORDS`; or an array of images (n, C, H, W)
            for each class, in a list, or in a dict by the class's number or name.
        path: file named in errors.

    Returns:
        The parts of each split; ``train`` where names say nothing of splits.

    Raises:
        InputError: another container, one that may be read in two ways (the names are listed), or
            tensors that are none.
    """
    if isinstance(content, TensorDataset):
        tensors = vars(content).get("tensors")  # what the file says, so anything
        parts = _pair(tensors, path) if isinstance(tensors, tuple) else None
        if parts is None:
            raise InputError(f"{path} holds a TensorDataset that is not one of images and labels")
        return {"train": replace(parts, note="a TensorDataset: images, then labels")}
    if _is_array(content):
        return {"train": Parts(_checked(content, path, "images"), None)}
    if isinstance(content, Mapping) and content:
        return _named(content, path)
    if isinstance(content, list | tuple):
        whole = len(content) > 1 and all(_is_array(value) and value.ndim == 4 for value in content)
        parts = _by_class(dict(enumerate(content)), path, "its place in the list") if whole else _pair(content, path)
        if parts is not None:
            return {"train": parts}
    raise InputError(f"{path} holds neither {KNOWN_CONTAINERS}")


def layout_of(shape: Sequence[int]) -> Layout | None:
    """The layout of an array of grey (1 channel) or colour (3 channels) images; None where it is no
    such array.

    Raises:
        InputError: channels may be in the second place and in the last.
    """
    if len(shape) == 3:
        return "N x H x W"
    if len(shape) != 4:
        return None
    second, last = shape[1] in _CHANNELS, shape[3] in _CHANNELS
    if second and last:
        raise InputError(
            f"images have shape {list(shape)}, which may be N x C x H x W or N x H x W x C: store them in another shape, "
            "N x H x W if they are grey"
        )
    if second or last:
        return "N x C x H x W" if second else "N x H x W x C"
    return None


def key_names(keys: Iterable[Any]) -> str:
    """Keys of a dict for a message; of odd ones their type, such as a number of thousands of
    digits."""
    return listed(repr(key) if isinstance(key, str) or _number(key) is not None else type(key).__name__ for key in keys)


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray) and value.ndim > 0


def _checked(value: Any, path: Path, what: str) -> Array:
    array = value if isinstance(value, np.ndarray) else plain_tensor(value, path, what)
    if array.ndim == 0:
        raise InputError(f"{path}: {what} is one {array.dtype}, must be an array")
    return array


def _pair(content: Sequence[Any], path: Path) -> Parts | None:
    """Images and labels by place; None for anything else."""
    if len(content) != 2:
        return None
    images, labels = (_checked(part, path, what) for part, what in zip(content, ("images", "labels"), strict=True))
    return Parts(images, labels, note="a pair: images, then labels")


def _role(key: Any) -> tuple[Split, _Role] | None:
    """What the name of an array says; None where it says nothing, or two things."""
    words = [word for word in re.split(r"[\W_]+", key.lower()) if word] if isinstance(key, str) else []
    splits = [KEYWORDS[word] for word in words if word in KEYWORDS]
    rest = [word for word in words if word not in KEYWORDS]
    if len(rest) != 1 or len(splits) > 1 or rest[0] not in IMAGE_WORDS | LABEL_WORDS:
        return None
    return splits[0] if splits else "train", "images" if rest[0] in IMAGE_WORDS else "labels"


def _named(content: Mapping[Any, Any], path: Path) -> dict[Split, Parts]:
    keys: dict[tuple[Split, _Role], list[str]] = {}
    for key, value in content.items():
        role = _role(key)
        if role is not None and value is not None:
            keys.setdefault(role, []).append(key)
    chosen = {role: _only(candidates, content, role, path) for role, candidates in keys.items()}
    if not any(role == "images" and _is_array(content[key]) for (_, role), key in chosen.items()):
        return {"train": _class_dict(content, path)}
    # A class may be called 'x': then labels are missing, and the others look like images too.
    others = [key for key, value in content.items() if key not in chosen.values() and _is_array(value) and value.ndim == 4]
    if others and not any(role == "labels" for _, role in chosen):
        raise InputError(
            f"{path} holds {key_names([*chosen.values(), *others])}, which may be images, or images of a class each: "
            "keep images and labels"
        )
    unread = [key for key in content if key not in chosen.values()]
    note = f"; not read: {key_names(unread)}" if unread else ""
    parts: dict[Split, Parts] = {}
    for split in [split for split in SPLITS if any(split == named for named, _ in chosen)]:
        images, labels = chosen.get((split, "images")), chosen.get((split, "labels"))
        if images is None:
            raise InputError(f"{path} has {labels!r}, but no images for them: it has {key_names(content)}")
        parts[split] = Parts(
            _checked(content[images], path, images),
            None if labels is None else _checked(content[labels], path, labels),
            note=f"images of {images!r}" + ("" if labels is None else f", labels of {labels!r}") + note,
        )
    return parts


def _only(candidates: list[str], content: Mapping[Any, Any], role: tuple[Split, _Role], path: Path) -> str:
    """The key of the array with a role; values of other kinds do not count beside arrays."""
    arrays = [key for key in candidates if _is_array(content[key])] or candidates
    if len(arrays) > 1:
        split, what = role
        raise InputError(f"{path} holds {key_names(arrays)}, which may all be the {split} {what}: keep one of them")
    return arrays[0]


def _class_dict(content: Mapping[Any, Any], path: Path) -> Parts:
    """Images by the number or the name of their class."""
    if not all(_is_array(value) and value.ndim == 4 for value in content.values()):
        raise InputError(f"{path} holds neither {KNOWN_CONTAINERS}: it has {key_names(content)}")
    numbers = [number for number in map(_number, content) if number is not None]
    if len(set(numbers)) == len(content):
        return _by_class(dict(zip(numbers, content.values(), strict=True)), path, "its class number", known=False)
    splits = any(isinstance(key, str) and key.lower() in KEYWORDS for key in content)
    if len(content) < 2 or splits or not all(isinstance(key, str) for key in content):
        raise InputError(f"{path} holds neither {KNOWN_CONTAINERS}: it has {key_names(content)}")
    parts = _by_class(dict(enumerate(content.values())), path, "its class name, in the order of the file")
    return replace(parts, class_names=tuple(content))


def _number(key: Any) -> int | None:
    """The class number that a key is; None where it is none."""
    whole = (isinstance(key, int | np.integer) and not isinstance(key, bool)) or re.fullmatch("[0-9]{1,9}", str(key))
    return int(key) if whole and 0 <= int(key) < MOST_CLASSES else None


def _by_class(images: Mapping[Any, Array], path: Path, by: str, *, known: bool = True) -> Parts:
    """One array of images for each label, joined; ``known``: the labels are all classes there
    are."""
    first = next(iter(images.values()))
    for label, part in images.items():
        if type(part) is not type(first) or part.dtype != first.dtype or part.shape[1:] != first.shape[1:]:
            raise InputError(
                f"{path}: images of the classes differ: {first.dtype} {list(first.shape)}, but those of class {label} are "
                f"{part.dtype} {list(part.shape)}"
            )
    filled = {label: _checked(part, path, f"class {label}") for label, part in images.items() if len(part)}
    if not filled:
        raise InputError(f"{path} holds {len(images)} classes without images")
    counts = [len(part) for part in filled.values()]
    joined: Array
    if isinstance(first, Tensor):
        tensors = [part for part in filled.values() if isinstance(part, Tensor)]
        check_expansion(path, sum(part.numel() * part.element_size() for part in tensors), path.stat().st_size)
        joined = torch.cat(tensors)
    else:
        joined = np.concatenate([np.asarray(part) for part in filled.values()])
    note = f"images of {len(images)} classes apart, the label of each is {by}"
    return Parts(joined, np.repeat(np.array([*filled], np.int64), counts), classes=len(images) if known else None, note=note)
