"""Creates the actors of a run: one worker per pool member, one parameter server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from hmdc_ray.actors.assembly import server_arguments
from hmdc_ray.actors.handles import RemoteServer, RemoteWorker
from hmdc_ray.actors.session import Ref, fetch, import_from, remote, wait
from hmdc_ray.actors.worker import PoolWorker
from hmdc_ray.config import MemberConfig, RunConfig
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError, RunError
from hmdc_ray.messages import MemberDescription
from hmdc_ray.server.parameter_server import ParameterServer

_logger = logging.getLogger(__name__)


class RayPool:
    """Actors of a run, as the coordinator sees them.

    Attributes:
        workers: one handle per pool member, in order.
        server: handle of the parameter server.
        descriptions: what each worker said of itself when it was ready.
    """

    def __init__(
        self,
        workers: Sequence[RemoteWorker],
        server: RemoteServer,
        descriptions: Sequence[MemberDescription],
        timeout: float,
        check: Callable[[], None],
    ) -> None:
        self.workers = workers
        self.server = server
        self.descriptions = descriptions
        self._timeout = timeout
        self._check = check

    def get(self, references: Sequence[Ref]) -> list[Any]:
        """Wait for results, within the configured deadline; see :func:`hmdc_ray.actors.session.wait`."""
        try:
            wait(references, self._timeout, self._check, "the pool")
        except TimeoutError as error:
            raise RunError(f"{error}: raise cluster.call_timeout, or go on from the last checkpoint with --resume") from error
        return fetch(references)


class _Worker(PoolWorker):
    """Adds to a worker what only Ray knows.

    The worker is built by :meth:`describe`, its first call: an input error in a call reaches the driver as such, one in a
    constructor as text in the death of an actor.

    Args:
        index: position of the member in the pool.
        config: the run.
        folder: the driver's working directory, where the member's network may lie.
    """

    def __init__(self, index: int, config: RunConfig, folder: str) -> None:
        self._arguments = index, config
        import_from(folder)

    def describe(self) -> MemberDescription:
        super().__init__(*self._arguments)
        context = ray.get_runtime_context()
        gpus = context.get_accelerator_ids().get("GPU", [])
        return replace(super().describe(), gpu_ids=tuple(gpus), node=context.get_node_id())


@contextmanager
def launch(config: RunConfig, info: DatasetInfo, folder: Path, check: Callable[[], None]) -> Iterator[RayPool]:
    """Start the actors of a run and stop them at the end.

    Args:
        config: the run.
        info: of its data.
        folder: the run's folder, where the server saves checkpoints.
        check: called while waiting; may raise to stop.

    Raises:
        InputError: the cluster lacks what the actors need, or a member cannot be built.
    """
    members = config.pool.members
    share = cpu_share([node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]], config)
    actors: list[Any] = []
    try:
        for index, member in enumerate(members):
            options = _resources(member, share)
            actors.append(remote(_Worker).options(**options).remote(index, config, str(Path.cwd())))
        workers = [RemoteWorker(actor) for actor in actors]
        descriptions = _ready(workers, config, check)
        _require_same(descriptions, config, info)
        initial = workers[config.pool.main_index].initial_images()
        wait([initial], config.cluster.call_timeout, check, "the main member")
        fetch([initial])  # an input error, such as too few images in a class, is raised here and not in the server's start
        server = remote(ParameterServer).options(num_cpus=config.cluster.server_cpus)
        actors.append(server.remote(initial_KICHW=initial, **server_arguments(config, info, folder)))
        handle = RemoteServer(actors[-1])
        _require_server(handle, config, check)
        yield RayPool(workers, handle, descriptions, config.cluster.call_timeout, check)
    finally:
        for actor in actors:
            ray.kill(actor)


def _require_same(descriptions: Sequence[MemberDescription], config: RunConfig, info: DatasetInfo) -> None:
    for member, description in zip(config.pool.members, descriptions, strict=True):
        if description.data != info.fingerprint:
            raise InputError(
                f"data.source {config.data.source!r} is other data on the node of pool member {member.name!r} (fingerprint "
                f"{description.data}) than here ({info.fingerprint}): all nodes must see the same files"
            )
        if member.num_gpus > 0 and description.device == "cpu":
            _logger.warning("pool member %r asks for a GPU, but CUDA is not available to it: it runs on the CPU", member.name)


def _require_server(server: RemoteServer, config: RunConfig, check: Callable[[], None]) -> None:
    call = server.snapshot()
    try:
        wait([call], config.cluster.start_timeout, check, "the parameter server")
    except TimeoutError as error:
        raise InputError(
            f"the parameter server did not start within cluster.start_timeout {config.cluster.start_timeout:g} s: it asks for "
            f"cluster.server_cpus {config.cluster.server_cpus:g}, free: {ray.available_resources().get('CPU', 0):g} CPU"
        ) from error


def cpu_share(node_cpus: Sequence[float], config: RunConfig) -> float:
    """Logical CPUs of a member that asks for none: the largest equal part of the nodes' CPUs that lets every member fit.

    At most 1, and in steps of 0.0001, which is Ray's own. It only decides where actors are placed; threads are set apart.
    """
    members = config.pool.members
    wanted = sum(member.num_cpus is None for member in members)
    if not wanted:
        return 1.0
    free = sorted(node_cpus, reverse=True)
    free[0] -= config.cluster.server_cpus + sum(member.num_cpus or 0.0 for member in members)
    parts = sorted({cpus / count for cpus in free for count in range(1, wanted + 1) if cpus > 0}, reverse=True)
    fitting = (part for part in parts if sum(int(cpus / part + 1e-9) for cpus in free if cpus > 0) >= wanted)
    return int(min(1.0, next(fitting, 0.01)) * 10_000) / 10_000


def _resources(member: MemberConfig, share: float) -> dict[str, Any]:
    return {
        "num_cpus": share if member.num_cpus is None else member.num_cpus,
        "num_gpus": member.num_gpus,
        "resources": member.resources or None,
        "max_restarts": 0,
        "max_task_retries": 0,
    }


def _ready(workers: Sequence[RemoteWorker], config: RunConfig, check: Callable[[], None]) -> list[MemberDescription]:
    calls = [worker.describe() for worker in workers]
    try:
        wait(calls, config.cluster.start_timeout, check, "a pool member")
    except TimeoutError as error:
        ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
        missing = [member for member, call in zip(config.pool.members, calls, strict=True) if call not in ready]
        total, free = ray.cluster_resources(), ray.available_resources()
        names = sorted({"CPU", "GPU"} | {name for member in missing for name in member.resources})
        has = ", ".join(f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}" for name in names)
        first = missing[0]
        raise InputError(
            f"pool member {first.name!r} ({len(missing)} of {len(calls)} members) did not start within cluster.start_timeout "
            f"{config.cluster.start_timeout:g} s: it asks for num_gpus {first.num_gpus:g}, "
            f"num_cpus {first.num_cpus or 'a share'}, resources {first.resources}; free in the cluster: {has}"
        ) from error
    return fetch(calls)
