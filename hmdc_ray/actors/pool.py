"""The actors of a run: workers of the pool's members and the parameter server's shards, started,
waited for, and replaced.

Ray neither restarts an actor nor repeats a call by itself: a restarted actor would have lost its
state silently. Lost actors are replaced by :meth:`RayPool.heal`, and the coordinator restores their
state.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from hmdc_ray.actors.local import local_call
from hmdc_ray.actors.placement import Placement
from hmdc_ray.actors.session import Ref, fetch, import_from, remote, wait
from hmdc_ray.actors.worker import PoolWorker
from hmdc_ray.config import RunConfig
from hmdc_ray.config.base import AUTO
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError, LostProcessError, RunError
from hmdc_ray.exchange.call_size import WorkerMemory
from hmdc_ray.exchange.messages import Array, MemberDescription
from hmdc_ray.exchange.protocols import ServerHandle, WorkerHandle
from hmdc_ray.exchange.recovery import Healed
from hmdc_ray.exchange.resources import Resources
from hmdc_ray.exchange.schedule import class_parts
from hmdc_ray.server.identity import agreeing, server_arguments
from hmdc_ray.server.initial_set import initial_images
from hmdc_ray.server.parameter_server import ParameterServer
from hmdc_ray.system.memory import keep_freed_memory

WAITING_SECONDS = 60.0
"""How often a pool that waits for resources logs it."""

_NO_REPEATS = {"max_restarts": 0, "max_task_retries": 0}

_logger = logging.getLogger(__name__)


def remote_call(actor: Any, verb: str, *arguments: object, returns: int = 1) -> Any:
    """Start a call of an actor; see :mod:`hmdc_ray.exchange.protocols`. Ray's stubs do not know the
    methods of actors."""
    return actor.call.options(num_returns=returns, name=verb).remote(verb, *arguments)


class _Actor:
    """A process of the pool."""

    call = local_call

    def __init__(self) -> None:
        keep_freed_memory()


class _Worker(_Actor, PoolWorker):
    """A worker that adds to its description what only Ray knows.

    The worker is built by :meth:`build`, its first call: an input error in a call reaches the
    driver as such, one in a constructor only as text in the error of a dead actor.

    Args:
        index: position of the member in the pool.
        config: the run.
        gpus: number of GPUs of the process.
        folder: the driver's working directory, where the user's own network may be.
    """

    def __init__(self, index: int, config: RunConfig, gpus: float, folder: str) -> None:
        super().__init__()
        self._arguments = index, config, gpus
        import_from(folder)

    def build(self) -> MemberDescription:
        PoolWorker.__init__(self, *self._arguments)
        context = ray.get_runtime_context()
        gpus = context.get_accelerator_ids().get("GPU", [])
        return replace(super().build(), gpu_ids=tuple(gpus), node=context.get_node_id())


class ServerActor(_Actor, ParameterServer):
    """A server, or a shard of it, whose process can start before there are images.

    The server is built by :meth:`open`, its first call.
    """

    def open(self, arguments: Mapping[str, Any], initial_KICHW: Array, labels: Sequence[int]) -> None:
        """Build the server or shard.

        Args:
            arguments: arguments of :class:`hmdc_ray.server.parameter_server.ParameterServer`,
                except images and classes.
            initial_KICHW: images of all K classes, I per class, float.
            labels: consecutive labels of the classes that it holds.
        """
        ParameterServer.__init__(self, initial_KICHW=initial_KICHW[labels[0] : labels[-1] + 1], first=labels[0], **arguments)


class RayPool:
    """Actors of a run, as the coordinator sees them.

    Args:
        resources: the run and the GPUs of its workers.
        info: description of its data.
        folder: the run's folder, where the server saves checkpoints.
        check: called while waiting; may raise to stop.
        placement: placement of the actors.

    Attributes:
        workers: one handle per pool member, in order.
        server: handles of the parameter server's shards.
        descriptions: description of each worker, replicas one after the other.
    """

    def __init__(
        self, resources: Resources, info: DatasetInfo, folder: Path, check: Callable[[], None], placement: Placement
    ) -> None:
        self._config = config = resources.config
        self._gpus = resources.gpus
        self._info = info
        self._folder = folder
        self._check = check
        self._placement = placement
        self._members = [index for index, member in enumerate(config.pool.members) for _ in range(member.replicas)]
        self._actors: list[Any] = []
        self._parts = class_parts(len(info.class_names), config.server_shards)
        self._server_actors: list[Any] = []
        self._lost: dict[int, str] = {}
        self._unbuilt: set[int] = set()
        self._others: list[Ref] = []
        self._initial: Ref | None = None
        self.descriptions: list[MemberDescription] = []

    def start(self) -> None:
        """Start all actors.

        Raises:
            InputError: the cluster lacks what the actors need, or a member cannot be built.
        """
        self._actors = [self._new_worker(slot) for slot in range(len(self._members))]
        self._server_actors = [self._new_server() for _ in self._parts]  # their processes start beside the workers'
        calls = [remote_call(actor, "build") for actor in self._actors]
        missing = self._missing(calls)
        if missing:
            raise InputError(self._not_started(missing))
        self.descriptions = fetch(calls)
        self._require_as_placed(range(len(self._members)), self.descriptions)
        self._initial = self._initial_images()
        self._open_servers(range(len(self._parts)))

    def measure(self) -> list[WorkerMemory]:
        """The memory that each worker's work needs, and what is free for it; to be called before
        any iteration begins."""
        agreed = agreeing(self._config, self.descriptions)
        pairs = zip(self._actors, self.descriptions, strict=True)
        found: list[WorkerMemory] = self.get([remote_call(actor, "measure", agreed[of.name]) for actor, of in pairs])
        return [replace(memory, node=of.node) for memory, of in zip(found, self.descriptions, strict=True)]

    @property
    def workers(self) -> list[WorkerHandle]:
        """See the class."""
        of_member: list[list[Any]] = [[] for _ in self._config.pool.members]
        for member, actor in zip(self._members, self._actors, strict=True):
            of_member[member].append(actor)
        return [WorkerHandle(actors, remote_call, self._others) for actors in of_member]

    @property
    def server(self) -> ServerHandle:
        """See the class."""
        return ServerHandle(self._server_actors, remote_call, self._parts)

    def get(self, references: Sequence[Ref]) -> list[Any]:
        """Wait for results, within the configured deadline; see
        :func:`hmdc_ray.actors.session.wait`.

        Raises:
            LostProcessError: a process is gone or does not answer in time.
        """
        try:
            wait(references, self._config.cluster.call_timeout, self._check, "the pool")
        except TimeoutError as error:
            raise LostProcessError(f"{error}: raise cluster.call_timeout if calls may take longer") from error
        results = fetch(references)
        self._raise_replica_errors()
        return results

    def keep(self, references: Sequence[Ref]) -> None:
        """Wait for results and copy each to this node, where it outlives the process and node that
        made it.

        Raises:
            LostProcessError: a process is gone or does not answer in time.
        """
        try:
            wait(references, self._config.cluster.call_timeout, self._check, "the pool", local=True)
        except TimeoutError as error:
            raise LostProcessError(str(error)) from error
        fetch(references)  # raises the error of a process that died, whose result could not be copied

    def heal(self) -> Healed:
        """Replace every actor that is gone or does not answer; the replacements have no state yet.

        Raises:
            RunError: a process cannot be restarted.
            InputError: a member can no longer be built, such as after a change of the data.
        """
        actors = {**dict(enumerate(self._actors)), **{-1 - shard: actor for shard, actor in enumerate(self._server_actors)}}
        unanswered = self._unanswered(actors)
        gone = [slot for slot in actors if slot in unanswered or slot in self._unbuilt]
        gone = [slot for slot in gone if slot < 0 or self._members[slot] not in self._lost]
        self._unbuilt = {*gone}  # until all are built: they answer before that, and a killed actor may answer once more
        self._others.clear()
        for slot in gone:
            with suppress(RayError):
                ray.kill(actors[slot])
        workers = [slot for slot in gone if slot >= 0]
        for slot in workers:
            self._actors[slot] = self._new_worker(slot, again=True)
        if workers:
            self._await_restarted(workers)
        shards = [-1 - slot for slot in gone if slot < 0]
        if shards:
            for shard in shards:
                self._server_actors[shard] = self._new_server()
            self._open_servers(shards)
        self._unbuilt.clear()
        names = [self._name(slot) for slot in workers if self._members[slot] not in self._lost] + ["server"] * len(shards)
        return Healed(tuple(names), dict(self._lost))

    def close(self) -> None:
        """Stop all actors."""
        for actor in [*self._actors, *self._server_actors]:
            ray.kill(actor)

    # Parts

    def _initial_images(self) -> Ref:
        """Images before the first step: a condensed set's, read on the driver's node, or the main
        member's."""
        stored = initial_images(self._config, self._info)
        if stored is not None:
            kept: Ref = ray.put(stored)
            return kept
        made: Ref = self.workers[self._config.pool.main_index].initial_images()
        wait([made], self._config.cluster.call_timeout, self._check, "the main member")
        fetch([made])  # an input error, such as too few images in a class, is raised here and not in the server's start
        return made

    def _new_worker(self, slot: int, *, again: bool = False) -> Any:
        options = self._placement.worker(slot, again=again) | _NO_REPEATS
        return remote(_Worker).options(**options).remote(self._members[slot], self._config, self._gpus[slot], str(Path.cwd()))

    def _new_server(self) -> Any:
        return remote(ServerActor).options(**self._placement.server(), **_NO_REPEATS).remote()

    def _unanswered(self, actors: Mapping[int, Any]) -> list[int]:
        """Actors that are dead, or do not finish their calls within
        ``cluster.recovery_timeout``."""
        calls = {slot: actor.__ray_ready__.remote() for slot, actor in actors.items()}
        with suppress(TimeoutError):
            wait(list(calls.values()), self._config.cluster.recovery_timeout, self._check, "the pool")
        ready, _ = ray.wait(list(calls.values()), num_returns=len(calls), timeout=0, fetch_local=False)
        return [slot for slot, call in calls.items() if call not in ready or not _is_value(call)]

    def _raise_replica_errors(self) -> None:
        """Raise the errors of calls to replicas other than the first; such an error is there before
        any result that the replica computes later."""
        if self._others:
            done, self._others[:] = ray.wait(self._others, num_returns=len(self._others), timeout=0, fetch_local=False)
            fetch(done)

    def _await_restarted(self, slots: Sequence[int]) -> None:
        """Wait until new workers are ready; ``cluster.when_lost`` decides about those that get no
        resources."""
        calls = [remote_call(self._actors[slot], "build") for slot in slots]
        policy = self._config.cluster.when_lost
        missing = self._missing(calls, math.inf if policy == "wait" else self._config.cluster.start_timeout)
        if missing:
            absent = {self._members[slots[position]] for position in missing}
            reason = self._not_started([slots[position] for position in missing])
            if policy == "stop":
                raise RunError(f"{reason}: add resources, or do without it (cluster.when_lost=continue)")
            for slot, member in enumerate(self._members):
                if member in absent:  # other replicas of it too
                    ray.kill(self._actors[slot])
            self._lost |= dict.fromkeys(absent, reason)
        ready = {slot: call for slot, call in zip(slots, calls, strict=True) if self._members[slot] not in self._lost}
        descriptions = fetch(list(ready.values()))
        self._require_as_placed(list(ready), descriptions)

    def _missing(self, calls: Sequence[Ref], timeout: float | None = None) -> list[int]:
        """Positions of workers that were not ready in time."""
        left = self._config.cluster.start_timeout if timeout is None else timeout
        while True:
            try:
                wait(calls, min(left, WAITING_SECONDS), self._check, "a pool member")
                return []
            except TimeoutError as error:
                left -= WAITING_SECONDS
                if left <= 0:
                    ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
                    return [position for position, call in enumerate(calls) if call not in ready]
                _logger.warning("waiting for resources: %s", error)

    def _not_started(self, slots: Sequence[int]) -> str:
        cluster, members = self._config.cluster, [self._config.pool.members[self._members[slot]] for slot in slots]
        total, free = ray.cluster_resources(), ray.available_resources()
        names = sorted({"CPU", "GPU"} | {name for member in members for name in member.resources})
        has = ", ".join(f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}" for name in names)
        first = members[0]
        cpus = "a share" if first.num_cpus == AUTO else first.num_cpus
        return (
            f"pool member {first.name!r} ({len(slots)} of {len(self._members)} workers) did not start within "
            f"cluster.start_timeout {cluster.start_timeout:g} s: it asks for num_gpus {self._gpus[slots[0]]:g}, "
            f"num_cpus {cpus}, resources {first.resources}, labels {first.labels}; "
            f"free in the cluster: {has}"
        )

    def _open_servers(self, shards: Sequence[int]) -> None:
        arguments = server_arguments(self._config, self._info, self._folder)
        calls = [
            remote_call(self._server_actors[shard], "open", arguments, self._initial, self._parts[shard]) for shard in shards
        ]
        try:
            wait(calls, self._config.cluster.start_timeout, self._check, "the parameter server")
            fetch(calls)
        except TimeoutError as error:
            raise InputError(
                f"the parameter server did not start within cluster.start_timeout {self._config.cluster.start_timeout:g} s: it "
                f"asks for cluster.server_cpus {self._config.cluster.server_cpus:g} in each of {len(shards)} process(es), "
                f"free: {ray.available_resources().get('CPU', 0):g} CPU"
            ) from error

    def _require_as_placed(self, slots: Sequence[int], descriptions: Sequence[MemberDescription]) -> None:
        """Refuse workers that see other data, or do not see the GPU that was asked for."""
        without = []
        for slot, description in zip(slots, descriptions, strict=True):
            member = self._config.pool.members[self._members[slot]]
            if description.data != self._info.fingerprint:
                raise InputError(
                    f"data.source {self._config.data.source!r} is other data on the node of pool member {member.name!r} "
                    f"(fingerprint {description.data}) than here ({self._info.fingerprint}): all nodes must see the same files"
                )
            if self._gpus[slot] > 0 and description.device == "cpu":
                if member.num_gpus != AUTO:
                    raise InputError(
                        f"pool member {member.name!r} asks for num_gpus {member.num_gpus:g}, but CUDA is not available to its "
                        f"process on node {description.node}: install a torch with CUDA there, or set num_gpus to 0"
                    )
                without.append(member.name)
        if without:
            _logger.warning(
                "the cluster counts GPUs, but CUDA is not available there to %s: they run on the CPU",
                ", ".join(dict.fromkeys(without)),
            )

    def _name(self, slot: int) -> str:
        return self._config.pool.members[self._members[slot]].name


def _is_value(call: Ref) -> bool:
    """Whether a call that has ended gave a value, and not the death of its actor."""
    try:
        fetch([call])
    except LostProcessError:
        return False
    return True
