"""Taps: the features of a network that mutual distillation aligns (SSD of HMDC, Moon et al., arXiv
2409.14538)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import Tensor

from hmdc_ray.errors import InputError, closest

TapKind = Literal["map", "tokens", "vector"]
AnyTap = TypeVar("AnyTap")

_LAYOUTS = {"map": "(B, channels, height, width)", "tokens": "(B, 1 + tokens, channels)", "vector": "(B, channels)"}
_DIMENSIONS = {"map": 4, "tokens": 3, "vector": 2}


@dataclass(frozen=True, slots=True)
class TapSpec:
    """A feature as an architecture declares it.

    Attributes:
        module: dotted name, inside the architecture's module, of the submodule whose output is the
            feature.
        kind: layout of the feature: a map (B, c, h, w), a token sequence with the class token first
            (B, 1 + n, c), or a vector (B, c).
        grid: (rows, columns) of the n tokens after the class token, in row-major order; None for
            other kinds.
    """

    module: str
    kind: TapKind
    grid: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Tap:
    """A declared feature with its size.

    Attributes:
        module: dotted name of the submodule, as in :class:`TapSpec`.
        kind: layout of the feature, as in :class:`TapSpec`.
        channels: size c of the feature.
        height: rows of the map or token grid; 0 for a vector.
        width: columns of the map or token grid; 0 for a vector.
    """

    module: str
    kind: TapKind
    channels: int
    height: int
    width: int


def evenly_spaced(taps: Sequence[AnyTap], count: int | None) -> tuple[AnyTap, ...]:
    """``count`` of the taps, evenly spaced, the last one among them; None: all.

    Raises:
        InputError: there are fewer taps.
    """
    if count is None:
        return tuple(taps)
    if not 1 <= count <= len(taps):
        raise InputError(f"option 'taps' is {count}, but the network has {len(taps)}: must be 1 to that many, or left out")
    return tuple(taps[(tap + 1) * len(taps) // count - 1] for tap in range(count))


def require_module(name: str, modules: Iterable[str], role: str) -> None:
    """Refuse a submodule name that does not exist, or the empty name.

    Args:
        name: dotted name.
        modules: the names that exist.
        role: declared use of the module, such as ``tap``, for the error.

    Raises:
        InputError: there is no such submodule; the closest name is suggested.
    """
    known = {module for module in modules if module}
    if name not in known:
        raise InputError(f"{role} {name!r} is not a module of the network: {closest(name, known)}")


def resolve(spec: TapSpec, feature: object, batch: int) -> Tap:
    """The size of a tap, read from one output of its module.

    Args:
        spec: declared tap.
        feature: output of the module, in the layout of ``spec.kind`` if all is well; None: it was
            not called.
        batch: number of images B in the batch that went in.

    Raises:
        InputError: the module was not called, or its output is not of the declared kind and grid.
    """
    if feature is None:
        raise InputError(f"tap {spec.module!r} is not called by the network: name a module that its forward calls")
    if not isinstance(feature, Tensor):
        raise InputError(f"tap {spec.module!r} returns a {type(feature).__name__}, must return one tensor")
    shape = tuple(feature.shape)
    if len(shape) != _DIMENSIONS[spec.kind] or shape[0] != batch:
        raise InputError(
            f"tap {spec.module!r} returns {shape} for {batch} images, "
            f"must return {_LAYOUTS[spec.kind]} because its kind is {spec.kind!r}"
        )
    if spec.kind == "map":
        return Tap(spec.module, spec.kind, shape[1], shape[2], shape[3])
    if spec.kind == "vector":
        return Tap(spec.module, spec.kind, shape[1], 0, 0)
    rows, columns = spec.grid or (0, 0)
    if rows * columns != shape[1] - 1 or rows < 1:
        raise InputError(
            f"tap {spec.module!r} returns {shape[1] - 1} tokens and a class token, "
            f"its grid is {spec.grid}: must be (rows, columns) with that many tokens"
        )
    return Tap(spec.module, spec.kind, shape[2], rows, columns)
