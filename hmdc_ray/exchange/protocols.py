"""The coordinator's calls to a pool: its verbs, what several processes of one part do with them,
and the pool itself.

A call is started by a function of the pool: it is given the process, the verb as a dotted name of
what the process hosts, the arguments, and ``returns``, the number of results, 1 without it.
Messages are top-level arguments, so that Ray moves them from process to process; the driver only
ever holds references.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hmdc_ray.exchange.messages import MemberTaps
from hmdc_ray.exchange.recovery import Healed
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.exchange.step_records import Reference

ADDING_CALLS = 8
"""Most members that have a call each, which need not wait for another member. More members share
calls, because a call costs the server about half a millisecond however many members it is for."""

MEMBERS_PER_CALL = 8
"""Most members that share a call, so that the messages sent and not yet added stay few."""


class WorkerHandle:
    """One member in one process or several, its replicas; see :mod:`hmdc_ray.matching` for the
    verbs.

    Replicas share the classes of a step. Each computes the same training steps from the same draws,
    so that all have the same network; results that all of them have are taken from the first.
    References to the others' results are kept for the pool to check: a replica that failed alone
    would continue with another network.

    Args:
        processes: processes that host a :class:`hmdc_ray.actors.worker.PoolWorker`, at least one.
        call: function that starts a call.
        others: list that receives the other replicas' results, except features, which are large.
    """

    def __init__(self, processes: Sequence[Any], call: Callable[..., Any], others: list[Reference]) -> None:
        self.processes = list(processes)
        self._call = call
        self._others = others

    def initial_images(self) -> Reference:
        return self._first("member.initial_images")

    def begin(self, iteration: int) -> Reference:
        return self._all("begin", iteration)

    def renew(self, iteration: int) -> Reference:
        return self._all("renew", iteration)

    def align(self, iteration: int, drawn: Sequence[MemberTaps]) -> Reference:
        return self._all("member.align", iteration, drawn)

    def choose(self, plan: StepPlan) -> Reference:
        return self._first("member.choose", plan)

    def select(self, plan: StepPlan, selection: Reference) -> Reference:
        return self._all("member.select", plan, selection)

    def selection(self, plan: StepPlan) -> Reference:
        return self._first("member.current_selection", plan)

    def features(self, plan: StepPlan, labels: tuple[int, ...], snapshot: Reference) -> Reference:
        return self._call(self._whose(plan, labels), "matcher.features", plan, labels, snapshot)

    def match(
        self, plan: StepPlan, labels: tuple[int, ...], snapshot: Reference, consensus: Reference | None
    ) -> tuple[Reference, Reference, Reference]:
        gradients, cotangents, record = self._call(
            self._whose(plan, labels), "matcher.match", plan, labels, snapshot, consensus, returns=3
        )
        return gradients, cotangents, record

    def pull_back(self, plan: StepPlan, labels: tuple[int, ...], cotangents: Reference) -> Reference:
        return self._call(self._whose(plan, labels), "matcher.pull_back", plan, cotangents)

    def train(self, plan: StepPlan, snapshot: Reference) -> Reference:
        return self._all("trainer.alone", plan, snapshot)

    def training_features(self, plan: StepPlan, batch: int, snapshot: Reference) -> Reference:
        return self._all("trainer.features", plan, batch, snapshot, kept=False)

    def training_step(self, plan: StepPlan, consensus: Reference) -> Reference:
        return self._all("trainer.step", plan, consensus)

    def aligner_features(self, plan: StepPlan, batch: int) -> Reference:
        return self._all("alignment.features", plan, batch, kept=False)

    def aligner_step(self, plan: StepPlan, batch: int, consensus: Reference) -> Reference:
        return self._all("alignment.step", plan, batch, consensus)

    def probe_features(self, plan: StepPlan) -> Reference:
        return self._first("alignment.probe_features", plan)

    def probe(self, plan: StepPlan, consensus: Reference) -> Reference:
        return self._first("alignment.probe", plan, consensus)

    def state(self) -> Reference:
        return self._first("member.state")

    def restore(self, state: Reference) -> Reference:
        return self._all("member.restore", state)

    def _first(self, verb: str, *arguments: object) -> Reference:
        return self._call(self.processes[0], verb, *arguments)

    def _whose(self, plan: StepPlan, labels: tuple[int, ...]) -> Any:
        """The replica that a chunk of classes belongs to."""
        return self.processes[plan.chunks.index(labels) % len(self.processes)]

    def _all(self, verb: str, *arguments: object, kept: bool = True) -> Reference:
        """Call every replica; returns the first one's result, and keeps the others'."""
        first, *others = [self._call(process, verb, *arguments) for process in self.processes]
        self._others += others if kept else []
        return first


class ServerHandle:
    """The parameter server in one process or several, its shards, each for some of the classes.

    The verbs are those of :class:`hmdc_ray.server.parameter_server.ParameterServer`. Messages of
    members are summed as they come, a few members at a time, by the shard that has the chunk's
    classes, so that it never holds all of them. Calls of one caller are executed in the order in
    which they were made, so a sum is in the order of the members.

    Args:
        processes: processes that host a server or shard, at least one.
        call: function that starts a call.
        parts: labels of the classes of each shard, from
            :func:`hmdc_ray.exchange.schedule.class_parts`.
    """

    def __init__(self, processes: Sequence[Any], call: Callable[..., Any], parts: Sequence[Sequence[int]]) -> None:
        self.processes = list(processes)
        self._call = call
        self._holders = {label: process for process, labels in zip(processes, parts, strict=True) for label in labels}

    def begin(self, iteration: int, members: tuple[int, ...], drawn: Sequence[MemberTaps]) -> Reference:
        return self._all("begin", iteration, members, drawn)

    def renewed(self, position: int) -> Reference:
        return self._all("renewed", position)

    def snapshot(self) -> Reference:
        return self._all("snapshot")

    def consensus(self, plan: StepPlan, labels: tuple[int, ...], *features: Reference) -> Reference:
        return self._summed("add_features", "form_consensus", plan, labels, features)

    def share(self, plan: StepPlan, labels: tuple[int, ...], *cotangents: Reference) -> Reference:
        return self._summed("add_cotangents", "mean_cotangents", plan, labels, cotangents)

    def balance_gradients(self, plan: StepPlan, labels: tuple[int, ...], *gradients: Reference) -> Reference:
        return self._summed("add_gradients", "balance_chunk", plan, labels, gradients)

    def apply(self, plan: StepPlan) -> tuple[Reference, Reference]:
        applied = [self._call(process, "apply", plan, returns=2) for process in self.processes]
        return self._joined([snapshot for snapshot, _ in applied]), self._joined([skipped for _, skipped in applied])

    def save(self, version: int, names: tuple[str, ...], *states: Reference) -> Reference:
        return self._call(self.processes[0], "save", version, names, *states)

    def saved(self, version: int, name: str) -> Reference:
        return self._call(self.processes[0], "saved", version, name)

    def state(self) -> Reference:
        return self._all("state")

    def restore(self, state: Reference, with_balance: bool) -> Reference:
        return self._all("restore", state, with_balance)

    def _summed(self, add: str, form: str, plan: StepPlan, labels: tuple[int, ...], parts: Sequence[Reference]) -> Reference:
        """Add the members' messages in groups of one call each, and form the result; both take the
        plan first."""
        holder, size = self._holders[labels[0]], min(math.ceil(len(parts) / ADDING_CALLS), MEMBERS_PER_CALL)
        starts = range(0, len(parts), size)
        added = [self._call(holder, add, plan, first, *parts[first : first + size]) for first in starts]
        return self._call(holder, form, plan, *added)

    def _all(self, verb: str, *arguments: object) -> Reference:
        return self._joined([self._call(process, verb, *arguments) for process in self.processes])

    def _joined(self, parts: Sequence[Reference]) -> Reference:
        return parts[0] if len(parts) == 1 else self._call(self.processes[0], "joined", *parts)


class Pool(Protocol):
    """The processes of a run."""

    @property
    def workers(self) -> Sequence[WorkerHandle]: ...
    @property
    def server(self) -> ServerHandle: ...

    def get(self, references: Sequence[Reference]) -> list[Any]:
        """Wait for results, within the configured deadline; raises LostProcessError when a process
        is lost."""
        ...

    def keep(self, references: Sequence[Reference]) -> None:
        """Wait for results, and make sure that they outlive the processes that made them; raises as
        ``get`` does."""
        ...

    def heal(self) -> Healed:
        """Replace lost processes by new ones without state."""
        ...
