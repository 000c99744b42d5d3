"""What a pool of another size would take, predicted from a short measured profile of a small one.

The model: members work at the same time, each on its own GPU, or on CPU cores that they share;
replicas divide a member's matching, but each does all of its training. The server works in turn
with the members, a little for each of them, which its processes divide, and all that is moved
passes its node. What a measured step took beyond that is put down to the calls, which grow with the
workers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hmdc_ray.errors import InputError


@dataclass(frozen=True)
class MemberProfile:
    """What one member took in a step.

    Attributes:
        name: the member's name.
        num_gpus: number of GPUs that its worker asks for.
        matching: seconds of its matching over all classes, which replicas divide.
        training: seconds of the rest, which every replica does.
        peak_bytes: largest resident memory of its process.
        shared_bytes: bytes of arrays that it received for its matching, which replicas divide.
        each_bytes: bytes of other arrays that it received, as every replica does.
    """

    name: str
    num_gpus: float
    matching: float
    training: float
    peak_bytes: int
    shared_bytes: float
    each_bytes: float


@dataclass(frozen=True)
class Profile:
    """One step of a pool, measured with one process of the server.

    Attributes:
        members: profiles of all members that took part.
        server_seconds: seconds of the parameter server's work.
        server_received_bytes: bytes of arrays that it received.
        server_peak_bytes: largest resident memory of its process.
        bytes_per_second: rate at which arrays move between processes of this machine.
        calls_seconds: seconds that a step of actors took on this machine beyond what members,
            server and moving explain.
        classes: number of classes of the matching.
        threads: number of threads of every worker.
    """

    members: tuple[MemberProfile, ...]
    server_seconds: float
    server_received_bytes: float
    server_peak_bytes: int
    bytes_per_second: float
    calls_seconds: float
    classes: int
    threads: int


@dataclass(frozen=True)
class Cluster:
    """Where the pool would run.

    Attributes:
        gpus_per_node: number of GPUs of a node; may be 0 where members run on CPUs.
        cores_per_node: number of cores of a node, for members that run on CPUs.
        network_bytes_per_second: rate of the network between nodes.
    """

    gpus_per_node: int
    cores_per_node: int
    network_bytes_per_second: float


@dataclass(frozen=True)
class Prediction:
    """A pool of another size.

    Attributes:
        counts: number of members that are like each measured one, by its name.
        workers: number of processes of members, replicas included.
        nodes: number of nodes that hold them.
        worker_peak_bytes: largest memory of a worker, by the measured member's name.
        server_peak_bytes: largest memory of all processes of the server together; that of each is
            the same for any number of members.
        bytes_per_step: bytes of arrays that any process receives.
        parts: seconds of a step by what takes them: ``members``, ``server``, ``moving``, ``calls``.
        slowest: name of the slowest member, or ``cores`` where members wait for cores.
    """

    counts: Mapping[str, int]
    workers: int
    nodes: int
    worker_peak_bytes: Mapping[str, int]
    server_peak_bytes: int
    bytes_per_step: float
    parts: Mapping[str, float]
    slowest: str

    @property
    def seconds_per_step(self) -> float:
        """Seconds of all parts, one after the other."""
        return sum(self.parts.values())

    @property
    def bottleneck(self) -> str:
        """What takes the largest part of a step: a member's name, ``cores``, ``server``, ``moving``
        or ``calls``."""
        largest = max(self.parts, key=lambda part: self.parts[part])
        return self.slowest if largest == "members" else largest


def predict(profile: Profile, members: int, replicas: int, cluster: Cluster, shards: int = 1) -> Prediction:
    """Predict a step of a pool that repeats the measured members in turn.

    Args:
        profile: measured profile of a small pool.
        members: number of members drawn for an iteration, at least 1.
        replicas: number of workers of each member, at least 1.
        cluster: machines that they run on; members on CPUs share the cores of one node.
        shards: number of processes of the server, no more of which are started than there are
            classes.

    Raises:
        InputError: a member does not fit onto a node, or there are more replicas than classes.
    """
    if replicas > profile.classes:
        raise InputError(f"--replicas is {replicas}, but the data has {profile.classes} classes, which replicas share")
    pool = [profile.members[index % len(profile.members)] for index in range(members)]
    part = math.ceil(profile.classes / replicas) / profile.classes  # of the replica with most classes
    times = {member.name: part * member.matching + member.training for member in pool}
    slowest = max(times, key=lambda name: times[name])
    nodes = count_nodes([member.num_gpus for member in pool for _ in range(replicas)], cluster)
    on_cpus = sum(member.matching + replicas * member.training for member in pool if not member.num_gpus)
    queued = on_cpus * profile.threads / cluster.cores_per_node
    if queued > times[slowest]:
        slowest = "cores"
    grown, shards = members / len(profile.members), min(shards, profile.classes)
    received = profile.server_received_bytes * grown
    received += sum(member.shared_bytes + replicas * member.each_bytes for member in pool)
    rate = profile.bytes_per_second if nodes == 1 else cluster.network_bytes_per_second
    parts = {
        "members": max(queued, *times.values()),
        "server": profile.server_seconds * grown / shards,
        "moving": received / rate,
        "calls": profile.calls_seconds * grown * replicas,
    }
    return Prediction(
        counts={member.name: sum(other is member for other in pool) for member in pool},
        workers=members * replicas,
        nodes=nodes,
        worker_peak_bytes={member.name: member.peak_bytes for member in pool},
        server_peak_bytes=shards * profile.server_peak_bytes,
        bytes_per_step=received,
        parts=parts,
        slowest=slowest,
    )


def count_nodes(gpus: Sequence[float], cluster: Cluster) -> int:
    """Nodes that hold workers with these GPUs, filled one after the other; workers on CPUs are
    placed on the first.

    Raises:
        InputError: a worker does not fit onto a node.
    """
    largest = max(gpus)
    if largest > cluster.gpus_per_node:
        raise InputError(
            f"--gpus-per-node is {cluster.gpus_per_node}, but a member asks for num_gpus {largest:g}: "
            "must be at least as many, because a worker runs on one node"
        )
    free: list[float] = []
    for wanted in sorted((count for count in gpus if count), reverse=True):
        place = next((index for index, left in enumerate(free) if left >= wanted - 1e-9), None)
        if place is None:
            free.append(cluster.gpus_per_node - wanted)
        else:
            free[place] -= wanted
    return max(1, len(free))


def largest_memory(prediction: Prediction) -> int:
    """Bytes that the fullest node needs: an equal part of the workers, at the largest one's size,
    and the server."""
    workers = math.ceil(prediction.workers / prediction.nodes)
    return workers * max(prediction.worker_peak_bytes.values()) + prediction.server_peak_bytes
