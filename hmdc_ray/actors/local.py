"""The same pool in one process, without Ray: for benchmarks and tests of the mathematics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from hmdc_ray.actors.worker import PoolWorker
from hmdc_ray.config import RunConfig
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.evaluation.device import torch_threads
from hmdc_ray.exchange.call_size import WorkerMemory
from hmdc_ray.exchange.messages import MemberTaps
from hmdc_ray.exchange.protocols import ServerHandle, WorkerHandle
from hmdc_ray.exchange.recovery import Healed
from hmdc_ray.exchange.resources import with_threads
from hmdc_ray.server.identity import agreeing, server_arguments
from hmdc_ray.server.initial_set import initial_images
from hmdc_ray.server.parameter_server import ParameterServer


def local_call(host: object, verb: str, *arguments: object, returns: int = 1) -> Any:
    """Call what a process hosts, or a part of it, in this process; see
    :mod:`hmdc_ray.exchange.protocols`."""
    return attrgetter(verb)(host)(*arguments)


def measure_members(config: RunConfig, gpus: Sequence[float]) -> list[tuple[WorkerMemory, int]]:
    """What each member's work needs, and the bytes of its weights, measured in this process, one
    member after the other.

    Args:
        config: the run, with its number of threads.
        gpus: number of GPUs of each member's worker.
    """
    members = range(len(config.pool.members))
    agreed = agreeing(config, (PoolWorker(index, config, gpus[index]).build() for index in members))
    return [_measured(PoolWorker(index, config, gpus[index]), agreed) for index in members]


def _measured(worker: PoolWorker, agreed: Mapping[str, Sequence[MemberTaps]]) -> tuple[WorkerMemory, int]:
    memory = worker.measure(agreed[worker.member.config.name])
    return memory, sum(parameter.nbytes for parameter in worker.member.network.parameters())


def measured_bytes(config: RunConfig) -> list[int]:
    """Peak bytes of each member while a class is matched, its weights included, measured on the
    CPU."""
    with torch_threads(1):
        measured = measure_members(with_threads(config, 1), [0.0] * len(config.pool.members))
    return [memory.footprint.peak(1) + weights for memory, weights in measured]


class LocalPool:
    """Workers and server as plain objects; a reference is the value itself.

    Args:
        config: the run; ``auto`` is one thread.
        info: description of its data.
        folder: the run's folder, where the server saves checkpoints.
        device: device of all members; see :class:`hmdc_ray.actors.worker.PoolWorker`.
    """

    def __init__(self, config: RunConfig, info: DatasetInfo, folder: Path, device: torch.device | None = None) -> None:
        self._config = config = with_threads(config, 1)
        self._hosts = [PoolWorker(index, config, device=device) for index in range(len(config.pool.members))]
        initial_KICHW = initial_images(config, info)
        if initial_KICHW is None:
            initial_KICHW = self._hosts[config.pool.main_index].member.initial_images()
        server = ParameterServer(initial_KICHW=initial_KICHW, **server_arguments(config, info, folder))
        self.workers = [WorkerHandle([host], local_call, []) for host in self._hosts]
        self.server = ServerHandle([server], local_call, [range(len(info.class_names))])

    def measure(self) -> list[WorkerMemory]:
        """The memory that each worker's work needs, all of it in this process."""
        agreed = agreeing(self._config, [host.build() for host in self._hosts])
        return [host.measure(agreed[host.member.config.name]) for host in self._hosts]

    def keep(self, references: Sequence[Any]) -> None:
        """Nothing is lost in one process."""

    def heal(self) -> Healed:
        """Nothing is lost in one process."""
        return Healed((), {})

    def get(self, references: Sequence[Any]) -> list[Any]:
        """The values themselves."""
        return list(references)
