"""A pool of simulated members and a real parameter server, as the coordinator sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray

from benchmarks.simulation.members import Members, Sizes
from hmdc_ray.actors.pool import ServerActor, remote_call
from hmdc_ray.actors.session import Ref, fetch, remote, wait
from hmdc_ray.exchange.messages import Array, Features, MemberRecord, MemberTaps, State
from hmdc_ray.exchange.protocols import ServerHandle
from hmdc_ray.exchange.recovery import Healed
from hmdc_ray.exchange.schedule import StepPlan

TIMEOUT = 24 * 3600.0
"""Seconds that a step may take."""


class SimulatedWorker:
    """The calls of one member; where a real one would compute, a process that members share waits.

    Args:
        host: actor of :class:`benchmarks.simulation.members.Members`.
        member: number of the member among those of all hosts.
        taps: taps of its network.
    """

    def __init__(self, host: Any, member: int, taps: MemberTaps) -> None:
        self._host = host
        self._member = member
        self._taps = ray.put(taps)
        self._nothing = ray.put(None)
        self._turn = 0

    def begin(self, iteration: int) -> Ref:
        return self._taps

    def align(self, iteration: int, drawn: Sequence[MemberTaps]) -> Ref:
        return self._nothing

    def features(self, plan: StepPlan, labels: tuple[int, ...], snapshot: Ref) -> Ref:
        (features,) = self._call("features", plan, labels, snapshot)
        return features

    def match(self, plan: StepPlan, labels: tuple[int, ...], snapshot: Ref, consensus: Ref) -> tuple[Ref, Ref, Ref]:
        gradients, cotangents, record = self._call("match", plan, labels, consensus, returns=3)
        return gradients, cotangents, record

    def pull_back(self, plan: StepPlan, labels: tuple[int, ...], cotangents: Ref) -> Ref:
        (gradients,) = self._call("pull_back", plan, labels, cotangents)
        return gradients

    # Training and probing of aligners are not simulated: exchanges of nothing.

    def aligner_features(self, plan: StepPlan, batch: int) -> Ref:
        return ray.put(Features(plan.version, ()))

    def aligner_step(self, plan: StepPlan, batch: int, consensus: Ref) -> Ref:
        return ray.put(MemberRecord())

    def probe_features(self, plan: StepPlan) -> Ref:
        return ray.put(Features(plan.version, ()))

    def probe(self, plan: StepPlan, consensus: Ref) -> Ref:
        return ray.put(MemberRecord())

    def state(self) -> Ref:
        return ray.put(State({}))

    def restore(self, state: Ref) -> Ref:
        return self._nothing

    def _call(self, verb: str, plan: StepPlan, labels: tuple[int, ...], needed: Ref, returns: int = 1) -> Sequence[Ref]:
        turn, self._turn = self._turn, self._turn + 1
        method = getattr(self._host, verb).options(num_returns=returns)
        found = method.remote(self._member, turn, plan.version, labels, needed)
        return found if returns > 1 else [found]


class SimulatedPool:
    """Members on a few hosts, and a server, which is to be opened.

    Args:
        members: number of members.
        hosts: number of processes that they share.
        sizes: sizes of every member's messages.
        taps: taps of every member's network.
        parts: classes of each shard of the server.
    """

    def __init__(self, members: int, hosts: int, sizes: Sizes, taps: MemberTaps, parts: Sequence[tuple[int, ...]]) -> None:
        # A call that waits for its turn must not keep out the one whose turn it is.
        made = remote(Members).options(num_cpus=0, max_restarts=0, max_concurrency=1_000_000)
        self.hosts = [made.remote(sizes) for _ in range(min(hosts, members))]
        places = [self.hosts[member % len(self.hosts)] for member in range(members)]
        self.workers: list[Any] = [SimulatedWorker(host, member, taps) for member, host in enumerate(places)]
        self.actors = [remote(ServerActor).options(num_cpus=0, max_restarts=0).remote() for _ in parts]
        self.server = ServerHandle(self.actors, remote_call, parts)
        self._parts = parts

    def open(self, arguments: Mapping[str, Any], initial_KICHW: Array) -> None:
        """Build the server; see :meth:`hmdc_ray.actors.pool.ServerActor.open`."""
        initial, shards = ray.put(initial_KICHW), zip(self.actors, self._parts, strict=True)
        self.get([remote_call(actor, "open", arguments, initial, part) for actor, part in shards])

    def get(self, references: Sequence[Ref]) -> list[Any]:
        """Wait for results."""
        wait(references, TIMEOUT, lambda: None, "the simulation")
        return fetch(references)

    def keep(self, references: Sequence[Ref]) -> None:
        """Do nothing: cuts are not measured."""

    def heal(self) -> Healed:
        """Raise: no process of the simulation should be lost."""
        raise AssertionError("a process of the simulation was lost")

    def close(self) -> None:
        """Stop all actors."""
        for actor in [*self.hosts, *self.actors]:
            ray.kill(actor)
