"""Typed handles to the actors: each method starts the remote call of the same name and returns references.

Messages are top-level arguments, so that Ray moves them from actor to actor; the driver only ever holds references.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hmdc_ray.actors.session import Ref
from hmdc_ray.exchange.messages import MemberTaps
from hmdc_ray.exchange.schedule import StepPlan

ADDING_CALLS = 8
"""Most members that have a call each, which need not wait for another member. More members share calls, because a call costs
the server about half a millisecond however many members it is for."""

MEMBERS_PER_CALL = 8
"""Most members that share a call, so that the messages sent and not yet added stay few."""


def _call(method: Any, *arguments: object) -> Ref:
    """Start a remote call; Ray's stubs do not know the methods of classes made remote at assembly."""
    reference: Ref = method.remote(*arguments)
    return reference


def _groups(parts: Sequence[Ref]) -> list[tuple[int, Sequence[Ref]]]:
    """The members' messages in groups of one call each, with the position of each group's first member."""
    size = min(math.ceil(len(parts) / ADDING_CALLS), MEMBERS_PER_CALL)
    return [(first, parts[first : first + size]) for first in range(0, len(parts), size)]


class RemoteWorker:
    """A :class:`hmdc_ray.actors.worker.PoolWorker` in an actor; see there for the verbs."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def build(self) -> Ref:
        return _call(self.actor.build)

    def measure(self, drawn: Sequence[MemberTaps]) -> Ref:
        return _call(self.actor.measure, drawn)

    def initial_images(self) -> Ref:
        return _call(self.actor.initial_images)

    def begin(self, iteration: int) -> Ref:
        return _call(self.actor.begin, iteration)

    def align(self, iteration: int, drawn: Sequence[MemberTaps]) -> Ref:
        return _call(self.actor.align, iteration, drawn)

    def choose(self, plan: StepPlan) -> Ref:
        return _call(self.actor.choose, plan)

    def select(self, plan: StepPlan, selection: Ref) -> Ref:
        return _call(self.actor.select, plan, selection)

    def features(self, plan: StepPlan, labels: tuple[int, ...], snapshot: Ref) -> Ref:
        return _call(self.actor.features, plan, labels, snapshot)

    def match(self, plan: StepPlan, labels: tuple[int, ...], snapshot: Ref, consensus: Ref | None) -> tuple[Ref, Ref, Ref]:
        gradients, cotangents, record = self.actor.match.options(num_returns=3).remote(plan, labels, snapshot, consensus)
        return gradients, cotangents, record

    def pull_back(self, plan: StepPlan, labels: tuple[int, ...], cotangents: Ref) -> Ref:
        return _call(self.actor.pull_back, plan, labels, cotangents)

    def train(self, plan: StepPlan, snapshot: Ref) -> Ref:
        return _call(self.actor.train, plan, snapshot)

    def training_features(self, plan: StepPlan, batch: int, snapshot: Ref) -> Ref:
        return _call(self.actor.training_features, plan, batch, snapshot)

    def training_step(self, plan: StepPlan, consensus: Ref) -> Ref:
        return _call(self.actor.training_step, plan, consensus)

    def aligner_features(self, plan: StepPlan, batch: int) -> Ref:
        return _call(self.actor.aligner_features, plan, batch)

    def aligner_step(self, plan: StepPlan, batch: int, consensus: Ref) -> Ref:
        return _call(self.actor.aligner_step, plan, batch, consensus)

    def probe_features(self, plan: StepPlan) -> Ref:
        return _call(self.actor.probe_features, plan)

    def probe(self, plan: StepPlan, consensus: Ref) -> Ref:
        return _call(self.actor.probe, plan, consensus)

    def renew(self, iteration: int) -> Ref:
        return _call(self.actor.renew, iteration)

    def selection(self, plan: StepPlan) -> Ref:
        return _call(self.actor.selection, plan)

    def state(self) -> Ref:
        return _call(self.actor.state)

    def restore(self, state: Ref) -> Ref:
        return _call(self.actor.restore, state)


class RemoteServer:
    """A :class:`hmdc_ray.server.parameter_server.ParameterServer` in an actor; see there for the verbs.

    The members' messages are summed as they come, a few members at a time, so that the server never holds all of them. Calls
    of one caller are executed in the order in which they were made, so a sum is in the order of the members.
    """

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def begin(self, iteration: int, members: tuple[int, ...], drawn: Sequence[MemberTaps]) -> Ref:
        return _call(self.actor.begin, iteration, members, drawn)

    def renewed(self, position: int) -> Ref:
        return _call(self.actor.renewed, position)

    def snapshot(self) -> Ref:
        return _call(self.actor.snapshot)

    def consensus(self, plan: StepPlan, *features: Ref) -> Ref:
        added = [_call(self.actor.add_features, plan, first, *parts) for first, parts in _groups(features)]
        return _call(self.actor.form_consensus, plan, *added)

    def share(self, plan: StepPlan, *cotangents: Ref) -> Ref:
        added = [_call(self.actor.add_cotangents, plan, first, *parts) for first, parts in _groups(cotangents)]
        return _call(self.actor.mean_cotangents, plan, *added)

    def balance_gradients(self, plan: StepPlan, *gradients: Ref) -> Ref:
        added = [_call(self.actor.add_gradients, plan, first, *parts) for first, parts in _groups(gradients)]
        return _call(self.actor.balance_chunk, plan, *added)

    def apply(self, plan: StepPlan) -> tuple[Ref, Ref]:
        snapshot, held = self.actor.apply.options(num_returns=2).remote(plan)
        return snapshot, held

    def joined(self, *parts: Ref) -> Ref:
        return _call(self.actor.joined, *parts)

    def save(self, version: int, names: tuple[str, ...], *states: Ref) -> Ref:
        return _call(self.actor.save, version, names, *states)

    def saved(self, version: int, name: str) -> Ref:
        return _call(self.actor.saved, version, name)

    def state(self) -> Ref:
        return _call(self.actor.state)

    def restore(self, state: Ref, with_balance: bool) -> Ref:
        return _call(self.actor.restore, state, with_balance)
