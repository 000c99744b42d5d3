"""What ``--dry-run`` says of memory: the classes in a call, and the peak of every process, measured
and predicted here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hmdc_ray.actors.local import measure_members
from hmdc_ray.config.base import AUTO
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.exchange.call_size import GB, CallSize, call_size
from hmdc_ray.exchange.resources import Resources, workers_of
from hmdc_ray.system.memory import own_bytes

PROCESS = 0.36 * GB
"""Bytes that a worker or a process of the server has for itself, with torch and Ray imported, and
the data opened."""

DRIVER = 0.54 * GB
"""Bytes of the driver, likewise, with MLflow."""

RAY = 0.4 * GB
"""Bytes of a local Ray's own processes: the head's, the node's and their agents'."""

LIBRARIES = 0.35 * GB
"""Bytes of pages of files, of torch and Ray above all, that all processes of a machine share."""

IMAGE_COPIES = 8
"""Copies of the synthetic images, or of what is as large, in the server: momentum, gradients, sums,
snapshots."""

CHUNKS_UNDER_WAY = 2
"""Chunks whose messages lie in Ray's store at a time, where a fast member is ahead of a slow
one."""


@dataclass(frozen=True)
class ExpectedMemory:
    """Memory of a run while it condenses.

    Attributes:
        size: classes in a call, as they would be chosen here now; None where they are configured,
            or cannot be known.
        on_gpus: bytes of workers on GPUs, by member.
        unknown: members on GPUs of which there is none here: what they take there is not known.
        parts: bytes on this machine, by what takes them; an upper bound where the classes in a call
            cannot be known.
    """

    size: CallSize | None
    on_gpus: Mapping[str, float]
    unknown: tuple[str, ...]
    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        """Bytes on this machine."""
        return sum(self.parts.values())


def expected_memory(resources: Resources, info: DatasetInfo) -> ExpectedMemory:
    """Measure one class of every member in this process, one after the other, and predict a run of
    which all processes are on this machine.

    Args:
        resources: the run, validated, and the GPUs of its workers.
        info: description of its data.
    """
    config, before, members = resources.config, own_bytes(), resources.config.pool.members
    gpus = dict(zip((worker.name for worker in workers_of(config)), resources.gpus, strict=True))
    measured = [
        memory if memory.gpu else replace(memory, own=int(PROCESS + weights))  # as a worker that has just been built
        for memory, weights in measure_members(config, [gpus[member.name] for member in members])
    ]
    pool = [memory for memory, member in zip(measured, members, strict=True) for _ in range(member.replicas)]
    asks = [member for member in members if member.num_gpus not in (AUTO, 0)]
    unknown = tuple(memory.name for memory, member in zip(measured, members, strict=True) if member in asks and not memory.gpu)
    # This process will be the driver; the others are not there yet.
    others = DRIVER - before + RAY + PROCESS * config.server_shards + sum(memory.own for memory in pool if not memory.gpu)
    pool = [memory if memory.gpu else replace(memory, free=max(0, int(memory.free - others))) for memory in pool]
    known = [memory for memory in pool if memory.name not in unknown]
    total, given = len(info.class_names), config.matching.classes_per_call
    size = call_size(config, known, total) if known and given is None else None
    classes = size.classes if size is not None else min(given or total, total)
    peaks = [(memory, memory.own + memory.footprint.peak(classes)) for memory in known]
    on_gpus = [member for memory, member in zip(measured, members, strict=True) if memory.gpu or member in asks]
    parts = {member.name: PROCESS * member.replicas for member in on_gpus}
    for memory, peak in peaks:
        if not memory.gpu:
            parts[memory.name] = parts.get(memory.name, 0) + peak
    messages = CHUNKS_UNDER_WAY * classes * sum(memory.footprint.message for memory in (*pool, pool[0]))
    server = IMAGE_COPIES * total * config.images.ipc * info.shape.values * 4
    parts |= {
        "server": PROCESS * config.server_shards + server + messages,
        "driver": DRIVER,
        "Ray": RAY + messages,
        "shared files": LIBRARIES + info.sizes["train"] * info.shape.values,
    }
    gpu_peaks = {memory.name: peak for memory, peak in peaks if memory.gpu}
    return ExpectedMemory(None if unknown else size, gpu_peaks, unknown, parts)
