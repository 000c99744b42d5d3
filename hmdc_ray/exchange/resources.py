"""What ``auto`` means on the machines that a run finds: GPUs of each worker, and threads of all.

- Every worker has a GPU of its own. Where there are fewer GPUs than workers, GPUs are shared in
  equal parts, and the workers that need most memory keep one of their own as far as that goes
  round.
- A node's cores are divided by the workers that compute there at the same time, which in a pool of
  which one member is drawn is one.

Threads decide the last bits of sums: they are part of the configuration from then on, and kept when
a run is resumed. GPUs and logical CPUs only decide where workers are; they are chosen anew.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hmdc_ray.config import MemberConfig, RunConfig
from hmdc_ray.config.base import AUTO

MOST_THREADS = 256
"""Largest value of ``cluster.threads``."""

NO_GPU = "there is no GPU"

_SHARES = {2: "half each", 3: "a third each", 4: "a quarter each"}


@dataclass(frozen=True)
class Node:
    """What one node offers.

    Attributes:
        cpus: number of logical CPUs.
        gpus: number of GPUs.
        gpu: model of its GPUs, such as ``H100``; empty where it is not known.
        resources: amounts of all resources that Ray counts there, by name.
        labels: labels of the node, by name.
    """

    cpus: float
    gpus: float = 0.0
    gpu: str = ""
    resources: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def may_host(self, member: MemberConfig) -> bool:
        """Whether the node has the custom resources and the labels that a member asks for; a label
        selector with an operator (``in(...)``, ``!``) is left to Ray, and counts as fulfilled."""
        has = all(self.resources.get(name, 0.0) >= amount for name, amount in member.resources.items())
        plain = {name: value for name, value in member.labels.items() if not value.startswith(("!", "in("))}
        return has and all(self.labels.get(name) == value for name, value in plain.items())


def this_machine() -> Node:
    """What a Ray that is started on this machine would have."""
    import torch  # not at the top: it takes seconds, and clusters are asked without it

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    model = torch.cuda.get_device_name(0) if gpus else ""
    return Node(float(os.cpu_count() or 1), float(gpus), model)


@dataclass(frozen=True)
class Resources:
    """What was resolved.

    Attributes:
        config: the run, with ``cluster.threads`` as a number.
        gpus: number of GPUs of each worker, replicas one after the other.
        driver_gpus: number of GPUs of a trial's driver, which judges the images; 0 outside a
            search.
        line: description for people, such as ``4 members on 2 x H100, half each; 8 threads each``.
    """

    config: RunConfig
    gpus: tuple[float, ...]
    driver_gpus: float
    line: str

    def fixed(self) -> RunConfig:
        """The run with numbers for the GPUs of all members and of the evaluation, for trials whose
        placement groups are made of them."""
        of_member: dict[str, float] = {}
        for worker, part in zip(workers_of(self.config), self.gpus, strict=True):
            of_member[worker.name] = min(part, of_member.get(worker.name, part))
        members = tuple(member.model_copy(update={"num_gpus": of_member[member.name]}) for member in self.config.pool.members)
        pool = self.config.pool.model_copy(update={"members": members})
        evaluation = self.config.evaluation.model_copy(update={"num_gpus": self.driver_gpus})
        return self.config.model_copy(update={"pool": pool, "evaluation": evaluation})


def resolve(
    config: RunConfig,
    nodes: Sequence[Node],
    sizes: Callable[[], Sequence[float]],
    trials: int = 0,
    no_gpu: str = NO_GPU,
) -> Resources:
    """Choose what the configuration leaves open.

    Args:
        config: the run.
        nodes: what each node of the cluster offers, at least one.
        sizes: function that measures the memory of each member, in bytes; called only where it
            decides which members have a GPU of their own.
        trials: number of such runs that share the nodes, each with a driver that judges images too;
            0: one run alone.
        no_gpu: reason to give where no node has a GPU.
    """
    workers = workers_of(config)
    given = [0.0 if worker.num_gpus == AUTO else worker.num_gpus for worker in workers]
    judge = config.evaluation.num_gpus
    copies = max(1, trials)
    reserved = copies * math.ceil(sum(given) + (judge if trials and judge != AUTO else 0.0))
    chosen = [slot for slot, worker in enumerate(workers) if worker.num_gpus == AUTO]
    with_driver = bool(trials) and judge == AUTO
    places = [node for node in nodes if any(node.may_host(workers[slot]) for slot in chosen)]
    free = max(0, sum(int(node.gpus) for node in places) - reserved)

    def of_chosen() -> list[float]:
        """Bytes of every worker that is to get a GPU, the driver last."""
        of_member = dict(zip((member.name for member in config.pool.members), sizes(), strict=True))
        return [of_member[workers[slot].name] for slot in chosen] + [0.0] * with_driver

    parts = gpu_parts(free, len(chosen) + with_driver, copies, of_chosen)
    gpus = list(given)
    for slot, part in zip(chosen, parts, strict=False):
        gpus[slot] = part
    driver = parts[-1] if with_driver and parts else 0.0 if judge == AUTO or not trials else judge
    hosts = [node for node in nodes if node.gpus] if any(gpus) else list(nodes)
    config = with_threads(config, threads_for([node.cpus for node in hosts], acting(config) * copies))
    return Resources(config, tuple(gpus), driver, _line(config, nodes, gpus, no_gpu))


def given(config: RunConfig) -> Resources:
    """The resources of a configuration as it is: those of a trial, which has numbers for all; else
    ``auto`` is no GPU and one thread."""
    config = with_threads(config, 1)
    gpus = [0.0 if worker.num_gpus == AUTO else worker.num_gpus for worker in workers_of(config)]
    judge = config.evaluation.num_gpus
    return Resources(config, tuple(gpus), 0.0 if judge == AUTO else judge, "")


def with_threads(config: RunConfig, threads: int) -> RunConfig:
    """The configuration with this number where ``cluster.threads`` is ``auto``."""
    if config.cluster.threads != AUTO:
        return config
    return config.model_copy(update={"cluster": config.cluster.model_copy(update={"threads": threads})})


def workers_of(config: RunConfig) -> list[MemberConfig]:
    """The member of every worker, replicas one after the other."""
    return [member for member in config.pool.members for _ in range(member.replicas)]


def acting(config: RunConfig) -> int:
    """The most workers that compute at the same time: those of the drawn members with the most
    replicas."""
    replicas = sorted((member.replicas for member in config.pool.members), reverse=True)
    return sum(replicas[: config.pool.drawn])


def gpu_parts(gpus: int, workers: int, copies: int, sizes: Callable[[], Sequence[float]]) -> list[float]:
    """The part of a GPU that each worker has, in (0, 1]; 0 for all where there is no GPU.

    Args:
        gpus: number of GPUs.
        workers: number of workers of one run.
        copies: number of equal runs that share the GPUs, at least 1.
        sizes: function that gives the bytes of each worker; called only where some workers have a
            GPU of their own and others do not.
    """
    if not gpus or not workers:
        return [0.0] * workers
    own = gpus // copies
    if own >= workers:
        return [1.0] * workers
    if not own:  # several runs share one
        return [_part(math.ceil(copies * workers / gpus))] * workers
    together = math.ceil(workers / own)
    # So many can have a GPU alone while the others, `together` on each, still fit onto the rest.
    alone = (together * own - workers) // (together - 1)
    bytes_of = sizes() if alone else [0.0] * workers
    largest = set(sorted(range(workers), key=lambda slot: -bytes_of[slot])[:alone])
    return [1.0 if slot in largest else _part(together) for slot in range(workers)]


def threads_for(cpus: Sequence[float], workers: int) -> int:
    """The most threads with which every worker has cores of its own, 1 to :data:`MOST_THREADS`.

    Args:
        cpus: number of logical CPUs of each node.
        workers: number of workers that compute at the same time.
    """
    most = min(MOST_THREADS, int(max(cpus, default=1)))
    fitting = (threads for threads in range(most, 1, -1) if sum(int(cpu // threads) for cpu in cpus) >= workers)
    return next(fitting, 1)


def _part(together: int) -> float:
    """An equal part in Ray's steps of 0.0001, of which ``together`` fit."""
    return int(10_000 / together) / 10_000


def _line(config: RunConfig, nodes: Sequence[Node], gpus: Sequence[float], no_gpu: str) -> str:
    placed = list(zip(workers_of(config), gpus, strict=True))
    groups = [
        _on_gpus([(worker, part) for worker, part in placed if part], nodes),
        _on_cpus([worker for worker, part in placed if not part], nodes, no_gpu),
    ]
    threads = config.threads
    return "; ".join([*filter(None, groups), f"{threads} thread{'s' if threads > 1 else ''} each"])


def _on_gpus(placed: Sequence[tuple[MemberConfig, float]], nodes: Sequence[Node]) -> str:
    if not placed:
        return ""
    models = {node.gpu or "GPU" for node in nodes if node.gpus}
    counts = Counter(part for _, part in placed)
    used = math.ceil(sum(part * count for part, count in counts.items() if part < 1) - 0.01)
    used += int(sum(part * count for part, count in counts.items() if part >= 1))
    where = f"{_counted([member for member, _ in placed])} on {used} x {' or '.join(sorted(models))}"
    common = min(counts)
    special = dict.fromkeys(f"{member.name} {_share(part).removesuffix(' each')}" for member, part in placed if part != common)
    return f"{where}, {', '.join([*special, f'the others {_share(common)}' if special else _share(common)])}"


def _on_cpus(workers: Sequence[MemberConfig], nodes: Sequence[Node], no_gpu: str) -> str:
    if not workers:
        return ""
    cores = sum(node.cpus for node in nodes)
    why = ""
    if any(worker.num_gpus == AUTO for worker in workers):
        why = f" ({'no GPU is left' if any(node.gpus for node in nodes) else no_gpu})"
    return f"{_counted(workers)} on {cores:g} CPU core{'' if cores == 1 else 's'}{why}"


def _share(part: float) -> str:
    if part >= 1:
        return "one each" if part == 1 else f"{part:g} each"
    together = round(1 / part)
    whole = abs(part * together - 1) < 0.01  # a part that was not chosen here may be any
    return _SHARES.get(together, f"1/{together} each") if whole else f"{part:g} of one each"


def _counted(workers: Sequence[MemberConfig]) -> str:
    members = len({worker.name for worker in workers})
    noun = f"{members} member{'' if members == 1 else 's'}"
    return noun if members == len(workers) else f"{noun} ({len(workers)} workers)"
