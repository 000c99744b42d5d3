"""The condensed sets of an evaluation: their names and fingerprints, and checks that they fit the
data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError

Sets = CondensedSet | Sequence[CondensedSet] | Mapping[str, CondensedSet]
"""One condensed set, or several, with or without names; the others are compared with the first."""


def named_sets(condensed: Sets) -> dict[str, CondensedSet]:
    """The sets by name, in order.

    A set without a name gets that of its run, or ``condensed`` where that is unknown; where names
    would repeat, the sets are numbered from 1.

    Raises:
        InputError: there is no set.
    """
    if isinstance(condensed, Mapping):
        named = dict(condensed)
    else:
        sets = [condensed] if isinstance(condensed, CondensedSet) else [*condensed]
        names = [str((each.config or {}).get("name", "condensed")) for each in sets]
        if len(set(names)) < len(names):
            names = [f"{name} {number}" for number, name in enumerate(names, start=1)]
        named = dict(zip(names, sets, strict=True))
    if not named:
        raise InputError("there is no condensed set to evaluate: give at least one")
    return named


def image_fingerprint(condensed: CondensedSet) -> str:
    """16 hexadecimal digits of a SHA-256 over images, labels, formation and decoding: equal for
    equal training images."""
    decoding = "" if condensed.decoding == "aligned" else condensed.decoding
    digest = hashlib.sha256(f"{condensed.formation}{decoding} {tuple(condensed.images.shape)}".encode())
    for tensor in (condensed.images, condensed.labels):
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def with_families(config: EvaluationConfig, condensed: CondensedSet) -> EvaluationConfig:
    """The configuration with the augmentation families that the images were learned with, where it
    names none itself.

    A set of digits was learned without mirrored images, and its students must not see any.

    Raises:
        InputError: the configuration that the images carry names families that do not exist.
    """
    known = (condensed.config or {}).get("matching", {}).get("families")
    if config.families is not None or known is None:
        return config
    try:
        return EvaluationConfig.model_validate(config.model_dump() | {"families": known})
    except ValueError as error:
        raise InputError(
            f"matching.families of the condensed set's configuration is {known!r}: not usable ({error})"
        ) from error


def check_fit(condensed: CondensedSet, info: DatasetInfo) -> None:
    """Refuse data that the condensed images cannot be tested on.

    Raises:
        InputError: number or order of classes, or the image shape, is different.
    """
    if len(condensed.class_names) != len(info.class_names):
        imported = "" if condensed.config is not None else ", or import them with --class-names of all its classes"
        raise InputError(
            f"data {info.source!r} has {len(info.class_names)} classes, but the condensed images have "
            f"{len(condensed.class_names)}: give the data that they were learned from{imported}"
        )
    reordered = sorted(condensed.class_names) == sorted(info.class_names)
    for label, (ours, theirs) in enumerate(zip(condensed.class_names, info.class_names, strict=True)):
        if reordered and ours != theirs:
            raise InputError(f"data {info.source!r}: class {label} is {theirs!r}, but of the condensed images it is {ours!r}")
    shape = (info.shape.channels, info.shape.height, info.shape.width)
    if shape != tuple(condensed.images.shape[1:]):
        raise InputError(
            f"data {info.source!r} has images of {_describe(shape)}, but the condensed images have "
            f"{_describe(condensed.images.shape[1:])}: set data.channels and data.image_size"
        )


def check_all_fit(sets: Mapping[str, CondensedSet], info: DatasetInfo) -> None:
    """:func:`check_fit` for every set; of several sets, the error names the one.

    Raises:
        InputError: a set does not fit the data.
    """
    for name, condensed in sets.items():
        try:
            check_fit(condensed, info)
        except InputError as error:
            raise InputError(f"{name}: {error}" if len(sets) > 1 else str(error)) from error


def _describe(shape: Sequence[int]) -> str:
    channels, height, width = shape
    return f"{channels} channel{'s' if channels > 1 else ''} and {height}x{width} pixels"
