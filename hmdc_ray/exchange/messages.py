"""Everything that crosses a process boundary, as frozen records of NumPy arrays.

Shapes: K classes of a chunk, I stored images per class, C x H x W an image; B images of a batch, L layers, T tokens, D
channels of aligned features. Every message names the image version that it was computed on; versions that differ are
refused with both numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hmdc_ray.system.memory import on_disk

if TYPE_CHECKING:  # messages can be read by processes without torch
    from hmdc_ray.models.network import Tap

Array = NDArray[np.floating]
Rows = NDArray[np.int64]


def check_version(what: str, found: int, expected: int) -> None:
    """Refuse a message of another image version.

    Raises:
        RuntimeError: the versions differ; the message holds both.
    """
    if found != expected:
        raise RuntimeError(f"{what} belongs to image version {found}, but the images are at version {expected}")


@dataclass(frozen=True)
class Snapshot:
    """The synthetic images of one version: images_KICHW, normalised, all classes; a shard's before they are joined: its own."""

    version: int
    images_KICHW: Array


@dataclass(frozen=True)
class Selection:
    """Real images chosen for matching: rows of the training split, one array per class."""

    version: int
    rows: tuple[Rows, ...]


@dataclass(frozen=True)
class Features:
    """Aligned features (B, L, T, D) of one member, or their consensus; one array per batch of the chunk.

    Attributes:
        version: image version.
        batches: for a chunk of classes: real batch and synthetic batch of each class in turn; for training: one batch.
        finite: of a member's features, whether those of a batch are all finite, as it has found; none in a consensus.
    """

    version: int
    batches: tuple[Array, ...]
    finite: tuple[bool, ...] = ()


@dataclass(frozen=True)
class GradientSizes:
    """How large the gradient of a target is in each class; not finite where the gradient is not.

    Attributes:
        magnitudes_K: largest absolute entry, float64.
        sums_K: sum of the absolute entries, float64.
        norms_K: Euclidean norm, float64.
    """

    magnitudes_K: Array
    sums_K: Array
    norms_K: Array


@dataclass(frozen=True)
class Gradients:
    """What a member contributes to the image update of a chunk of classes.

    Attributes:
        version: image version.
        labels: the classes.
        classification_KICHW: gradient of the member's own target.
        sizes: of that gradient.
        distillation_KICHW: its part of the pool's distillation target, through its own graph and, unless that is detached,
            through the consensus; None without mutual distillation.
        classification_losses: value of the member's own target in each class.
        distillation_losses: value of its part of the distillation target in each class.
    """

    version: int
    labels: tuple[int, ...]
    classification_KICHW: Array
    sizes: GradientSizes
    distillation_KICHW: Array | None
    classification_losses: tuple[float, ...] = ()
    distillation_losses: tuple[float, ...] = ()


@dataclass(frozen=True)
class Cotangents:
    """Gradients with respect to the consensus of each class' synthetic batch, (B, L, T, D) each; or their consensus' share."""

    version: int
    labels: tuple[int, ...]
    batches: tuple[Array, ...]


@dataclass(frozen=True)
class MemberRecord:
    """Numbers of one call to a member.

    Attributes:
        losses: name to mean loss over the classes or batches of the call.
        seconds: phase to seconds of work.
    """

    losses: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BalanceRecord:
    """What the balance did with one chunk of classes; rows are classes, columns the targets.

    Attributes:
        labels: the classes.
        magnitudes_KT: largest absolute entry of each target's gradient.
        weights_KT: weights relative to the reference target.
        shares_KT: part of each target in the update, in [0, 1].
        norms_KT: Euclidean norm of each target's gradient.
        entered_KT: False where a target was left out, because its gradient was zero, not finite, or below the history's floor,
            or its loss jumped.
    """

    labels: tuple[int, ...]
    magnitudes_KT: Array
    weights_KT: Array
    shares_KT: Array
    norms_KT: Array
    entered_KT: NDArray[np.bool_]


@dataclass(frozen=True)
class MemberDescription:
    """A member as its process sees itself.

    Attributes:
        name: the member's name.
        parameters: number of network parameters.
        device: torch device.
        gpu_ids: GPUs that Ray assigned.
        node: the Ray node's id; empty in one process.
        pid: process id.
        threads: torch threads.
        data: fingerprint of the data as the process reads it.
        taps: taps of the network of the first iteration.
    """

    name: str
    parameters: int
    device: str
    gpu_ids: tuple[str, ...]
    node: str
    pid: int
    threads: int
    data: str
    taps: MemberTaps


@dataclass(frozen=True)
class State:
    """Named arrays from which a member or the server is restored; JSON-like values go into ``values``."""

    arrays: dict[str, NDArray[np.generic]]
    values: dict[str, int] = field(default_factory=dict)


def join(parts: Sequence[Any]) -> Any:
    """What the shards of a server gave, each for its classes, as one server gives it; nothing, where they gave nothing.

    Args:
        parts: snapshots, states or tuples of labels, in the order of the classes.

    Raises:
        RuntimeError: they belong to different image versions.
    """
    first = parts[0]
    match first:
        case Snapshot():
            for part in parts:
                check_version("a part of the images", part.version, first.version)
            return Snapshot(first.version, _concatenated([part.images_KICHW for part in parts]))
        case State():
            for part in parts:
                check_version("a part of a state", part.values["version"], first.values["version"])
            arrays = {name: _concatenated([part.arrays[name] for part in parts]) for name in first.arrays}
            return State(arrays, first.values)
        case tuple():
            return tuple(label for part in parts for label in part)
        case None:
            return None
    raise TypeError(f"no way to join {type(first).__name__}")


def _concatenated(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays one after the other, which together may be large."""
    first = arrays[0]
    return np.concatenate(arrays, out=on_disk((sum(map(len, arrays)), *first.shape[1:]), first.dtype))


@dataclass(frozen=True)
class MemberTaps:
    """The network that a member hosts in this iteration.

    Attributes:
        name: the member's name.
        taps: the network's.
        options: those of its options that were drawn for this iteration.
    """

    name: str
    taps: tuple[Tap, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
