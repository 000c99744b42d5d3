"""Everything that crosses a process boundary, as frozen records of NumPy arrays.

Every message names the image version that it was computed on; another version is refused, with both
numbers.

Shapes: K classes of a chunk, I stored images per class, C x H x W an image; B images of a batch, L
layers, T tokens, D channels of aligned features.
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
    """The synthetic images of one version.

    Attributes:
        version: image version.
        images_KICHW: normalised images of all classes; of a shard's own classes before shards are
            joined.
    """

    version: int
    images_KICHW: Array


@dataclass(frozen=True)
class Selection:
    """Real images chosen for matching.

    Attributes:
        version: image version.
        rows: rows of the training split, one array (B,) per class; empty for a new random draw in
            every step.
    """

    version: int
    rows: tuple[Rows, ...]


@dataclass(frozen=True)
class Features:
    """Aligned features of one member, or their consensus.

    Attributes:
        version: image version.
        batches: one array (B, L, T, D) per batch: the real and the synthetic batch of each class of
            a chunk in turn, or one batch of a training.
        finite: one flag per batch, True where all the member's features are finite; empty in a
            consensus.
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
        sizes: sizes of the classification gradient.
        distillation_KICHW: the member's part of the gradient of the pool's distillation target,
            through its own graph and, unless detached, through the consensus; None without mutual
            distillation.
        classification_losses: value of the member's own target in each class.
        distillation_losses: value of the member's term of the distillation target in each class;
            empty without it.
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
    """Gradients of one member's term of L_F with respect to the consensus, or each member's share
    of all members' sum.

    Attributes:
        version: image version.
        labels: the classes.
        batches: cotangent of each class' synthetic batch, (B, L, T, D).
    """

    version: int
    labels: tuple[int, ...]
    batches: tuple[Array, ...]


@dataclass(frozen=True)
class MemberRecord:
    """Numbers of one call to a member.

    Attributes:
        losses: mean loss over the classes or batches of the call, by name.
        seconds: seconds of work, by phase.
    """

    losses: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BalanceRecord:
    """What the balance did with one chunk of classes; rows are classes, columns the targets.

    Attributes:
        labels: the classes.
        magnitudes_KT: largest absolute entry of each target's gradient.
        weights_KT: weight of each target relative to the reference target's.
        shares_KT: share of each target in the update, in [0, 1].
        norms_KT: Euclidean norm of each target's gradient.
        entered_KT: False where a target was left out, because its gradient was zero, not finite, or
            below the history's floor, or its loss jumped.
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
        device: torch device of the network.
        gpu_ids: ids of the GPUs that Ray assigned.
        node: id of the Ray node; empty in one process.
        pid: process id.
        threads: number of torch threads.
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
    """What a member or the server is restored from.

    Attributes:
        arrays: tensors by name, of any shape.
        values: integers by name.
    """

    arrays: dict[str, NDArray[np.generic]]
    values: dict[str, int] = field(default_factory=dict)


def join(*parts: Any) -> Any:
    """Join the results of a server's shards, each for its own classes, to that of a whole server.

    Args:
        parts: one result per shard, in the order of the classes: snapshots, states, tuples of
            labels, or None.

    Raises:
        RuntimeError: the parts belong to different image versions.
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
    raise TypeError(f"cannot join {type(first).__name__}")


def _concatenated(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays joined along the first axis, on disk because together they may be large."""
    first = arrays[0]
    return np.concatenate(arrays, out=on_disk((sum(map(len, arrays)), *first.shape[1:]), first.dtype))


@dataclass(frozen=True)
class MemberTaps:
    """The network that a member hosts in this iteration.

    Attributes:
        name: the member's name.
        taps: taps of the network.
        options: options of the network that were drawn for this iteration.
    """

    name: str
    taps: tuple[Tap, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
