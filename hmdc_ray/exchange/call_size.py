"""How many classes go into one call between actors: as many as fit in memory, from one class that
was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hmdc_ray.config import RunConfig

GB = 10**9

NODE_PART = 0.5
"""Fraction of a node's free memory at the start of a run that its workers and the server may
take."""

GPU_PART = 0.8
"""Fraction of a GPU's free memory at the start of a run that its workers may take; the rest is for
the workspaces of kernels that a larger batch may choose."""


@dataclass(frozen=True)
class Footprint:
    """Memory that the work of a member takes beside its network, in bytes.

    Attributes:
        kept: bytes of one class between the exchanges of a step.
        matching: peak while one class is matched by itself, ``kept`` included.
        other: peak of work that does not depend on the number of classes in a call: training,
            choosing real images.
        message: bytes of the features that the member sends for a class.
    """

    kept: int
    matching: int
    other: int
    message: int

    def peak(self, classes: int) -> int:
        """Peak bytes with this many classes in a call."""
        return max(self.matching + (classes - 1) * self.kept, self.other)

    def most_classes(self, available: float) -> int:
        """Largest number of classes in a call whose peak is at most ``available`` bytes; 0 if one
        class is too many."""
        if available < self.peak(1):
            return 0
        return 1 + int((available - self.matching) // max(1, self.kept))


@dataclass(frozen=True)
class WorkerMemory:
    """The memory of one worker when a run starts.

    Attributes:
        name: name of the member.
        node: id of the worker's node; empty if the run is in one process.
        gpu: fraction of a GPU, up to 1, if ``own`` and ``free`` are its memory; 0 if they are the
            node's.
        own: bytes that the worker uses already.
        free: bytes that are free beside those.
        footprint: memory that the worker's tasks will take.
    """

    name: str
    node: str
    gpu: float
    own: int
    free: int
    footprint: Footprint


@dataclass(frozen=True)
class CallSize:
    """The number of classes in a call, and why.

    Attributes:
        classes: largest number of classes in a call.
        total: number of classes of the data.
        worker: the worker that admits the fewest classes.
        limit: bytes that this worker may take.
        default: True if the limit follows from the free memory, False if from
            ``cluster.memory_per_worker``.
    """

    classes: int
    total: int
    worker: WorkerMemory
    limit: float
    default: bool

    @property
    def peak(self) -> int:
        """Peak bytes of the worker."""
        return self.worker.own + self.worker.footprint.peak(self.classes)

    @property
    def fits(self) -> bool:
        """Whether the worker stays under its limit; with one class in a call it may not."""
        return self.peak <= self.limit

    def describe(self) -> str:
        """The number of classes and the limit in one line, for people."""
        line = f"classes per call: {self.classes} of {self.total}"
        return f"{line}, chosen so that each worker stays under {gigabytes(self.limit)}" if self.fits else line

    def shortage(self) -> str:
        """One line on why one class does not fit, and what would help; empty if it fits."""
        if self.fits:
            return ""
        worker = self.worker
        takes = f"worker {worker.name} takes {gigabytes(self.peak)} with one class in a call, more than the"
        smaller = "a smaller matching.real_batch or schedule.batch"
        if not self.default:
            return (
                f"{takes} limit of {gigabytes(self.limit)} that cluster.memory_per_worker sets: raise it, or choose {smaller}"
            )
        more = "a larger num_gpus or GPU" if worker.gpu else "fewer workers on its node"
        return (
            f"{takes} {gigabytes(self.limit)} of its share of the free memory: it may run out of memory; {smaller}, or {more} "
            "would help"
        )


def call_size(config: RunConfig, workers: Sequence[WorkerMemory], classes: int, runs: int = 1) -> CallSize:
    """The classes in a call that every worker admits, at least 1.

    Args:
        config: the run.
        workers: memory of all workers, replicas included.
        classes: number of classes of the data.
        runs: number of runs that share the nodes, each with the same workers, this one included.
    """
    given = config.cluster.memory_per_worker
    limits = _default_limits(workers, runs) if given is None else [given * GB] * len(workers)
    left = [limit - worker.own for worker, limit in zip(workers, limits, strict=True)]
    admitted = [worker.footprint.most_classes(bytes_) for worker, bytes_ in zip(workers, left, strict=True)]
    # Of several that admit no more, the one that is shortest of memory.
    first = min(range(len(workers)), key=lambda index: (admitted[index], left[index] - workers[index].footprint.peak(1)))
    return CallSize(max(1, min(admitted[first], classes)), classes, workers[first], limits[first], given is None)


def with_call_size(config: RunConfig, size: CallSize) -> RunConfig:
    """The run's configuration with ``matching.classes_per_call`` as chosen."""
    return config.model_copy(update={"matching": config.matching.model_copy(update={"classes_per_call": size.classes})})


def _default_limits(workers: Sequence[WorkerMemory], runs: int) -> list[float]:
    """Bytes that each worker may take if nothing is configured. Runs share nodes; of a GPU each has
    its own part."""
    on_cpus = [worker for worker in workers if not worker.gpu]
    count = Counter(worker.node for worker in on_cpus)
    own, free = Counter[str](), dict[str, int]()
    for worker in on_cpus:
        own[worker.node] += worker.own
        free[worker.node] = min(worker.free, free.get(worker.node, worker.free))
    return [
        GPU_PART * worker.gpu * (worker.free + worker.own)
        if worker.gpu
        else NODE_PART * (free[worker.node] + own[worker.node]) / (count[worker.node] + 1) / runs
        for worker in workers
    ]


def gigabytes(count: float) -> str:
    """A number of bytes for people, to three digits: ``2.13 GB``."""
    return f"{count / GB:.3g} GB" if count < 1000 * GB else f"{count / GB:,.0f} GB"
