"""The round loop: plans each step and passes references between actors. It never holds a tensor, and imports no Ray.

One step at image version v, with mutual distillation (workers act at the same time, the server in the order of the pool)::

    coordinator            worker k                                   server
    plan v   ------------> choose (whose turn it is), select
    snapshot v ----------> features: real and synthetic batch ------> consensus (mean over members)
                           match: gradients, cotangents <------------'
                                  '---------------------------------> share (sum of cotangents)
                           pull_back: the consensus' part <----------'
                                  '---------------------------------> collect: check v, balance
    all classes collected -----------------------------------------> apply: image step, v + 1
    training: features -> consensus -> step, batch by batch
    log; at their periods picture and checkpoint

Without mutual distillation ``match`` is the only exchange.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hmdc_ray.config import RunConfig
from hmdc_ray.messages import BalanceRecord, MemberRecord
from hmdc_ray.schedule import StepPlan, plan_step, total_steps

Reference = Any
"""Result of a call: a ``ray.ObjectRef``, or the value itself when everything runs in one process."""

DISTILLATION = "distillation"
"""Name of the pool's shared target in records."""


_TARGET_METRICS = {
    "gbm/weight": "weights_KT",
    "gbm/share": "shares_KT",
    "gradient/largest": "magnitudes_KT",
    "gradient/norm": "norms_KT",
}


class WorkerHandle(Protocol):
    """The calls to one pool member; see :class:`hmdc_ray.actors.worker.PoolWorker` for what each does."""

    def begin(self, iteration: int) -> Reference: ...
    def align(self, iteration: int, drawn: Sequence[Any]) -> Reference: ...
    def choose(self, plan: StepPlan) -> Reference: ...
    def select(self, plan: StepPlan, selection: Reference) -> Reference: ...
    def features(self, plan: StepPlan, labels: tuple[int, ...], snapshot: Reference) -> Reference: ...
    def match(
        self, plan: StepPlan, labels: tuple[int, ...], snapshot: Reference, consensus: Reference | None
    ) -> tuple[Reference, Reference, Reference]: ...
    def pull_back(self, plan: StepPlan, cotangents: Reference) -> Reference: ...
    def train_on_synthetic(self, plan: StepPlan, snapshot: Reference) -> Reference: ...
    def train_on_real(self, plan: StepPlan) -> Reference: ...
    def training_features(self, plan: StepPlan, batch: int) -> Reference: ...
    def training_step(self, plan: StepPlan, consensus: Reference) -> Reference: ...
    def aligner_features(self, plan: StepPlan, batch: int) -> Reference: ...
    def aligner_step(self, plan: StepPlan, consensus: Reference) -> Reference: ...
    def state(self) -> Reference: ...
    def restore(self, state: Reference) -> Reference: ...


class ServerHandle(Protocol):
    """The calls to the parameter server; see :class:`hmdc_ray.server.parameter_server.ParameterServer`."""

    def begin(self, iteration: int, members: tuple[int, ...], drawn: Sequence[Any]) -> Reference: ...
    def snapshot(self) -> Reference: ...
    def consensus(self, plan: StepPlan, *features: Reference) -> Reference: ...
    def share(self, plan: StepPlan, *cotangents: Reference) -> Reference: ...
    def collect(self, plan: StepPlan, members: int, *parts: Reference) -> Reference: ...
    def apply(self, plan: StepPlan) -> tuple[Reference, Reference]: ...
    def save(self, version: int, names: tuple[str, ...], *states: Reference) -> Reference: ...
    def load(self, version: int) -> Reference: ...
    def member_state(self, version: int, name: str) -> Reference: ...


class Pool(Protocol):
    """The processes of a run."""

    @property
    def workers(self) -> Sequence[WorkerHandle]: ...
    @property
    def server(self) -> ServerHandle: ...
    def get(self, references: Sequence[Reference]) -> list[Any]:
        """Wait for results, within the configured deadline."""
        ...


@dataclass(frozen=True)
class StepRecord:
    """What a step did, as plain numbers.

    Attributes:
        plan: the step.
        metrics: by name ``area/what``; losses, seconds, and per target the GBM weight relative to the main member, the share
            in the update, and the gradient's largest entry and norm, each the mean over the classes in which it entered.
        left_out: per target the number of classes in which it was left out, if any.
        members: the members drawn, each with those of its options that were drawn for the iteration.
        snapshot: reference to the new images.
    """

    plan: StepPlan
    metrics: dict[str, float]
    left_out: dict[str, int]
    members: dict[str, dict[str, Any]]
    snapshot: Reference

    @property
    def position(self) -> dict[str, Any]:
        """Where in the run it was: the step counted from 1, the iteration from 0, and the members drawn."""
        return {"step": self.plan.version + 1, "iteration": self.plan.iteration, "members": self.members}


@dataclass(frozen=True)
class _Part:
    """A member's record of one call; in means it counts as often as the call had classes."""

    name: str
    reference: Reference
    weight: int


class Coordinator:
    """Runs the steps of a run on a pool.

    Args:
        config: the run.
        pool: workers in the order of the pool, and the server.
        classes: number of classes.
        train_images: number of real training images.
    """

    def __init__(self, config: RunConfig, pool: Pool, *, classes: int, train_images: int) -> None:
        self.config = config
        self.pool = pool
        self.classes = classes
        self.train_images = train_images
        self.names = [member.name for member in config.pool.members]
        self._options: dict[str, dict[str, Any]] = {}

    def run(self, start: int, after_step: Callable[[StepRecord], None]) -> None:
        """Run all steps from image version ``start``, calling ``after_step`` after each; it may raise to stop.

        A start in the middle of an iteration restores the members from the checkpoint of that version.
        """
        snapshot = self.pool.server.snapshot() if start == 0 else self._resume(start)
        for version in range(start, total_steps(self.config.schedule)):
            plan = self.plan(version)
            if plan.step == 0:
                self._begin(plan)
            record = self.step(plan, snapshot)
            snapshot = record.snapshot
            after_step(record)

    def plan(self, version: int) -> StepPlan:
        """The plan of the step that starts from this image version."""
        return plan_step(
            self.config.schedule,
            self.config.matching,
            self.config.pool,
            seed=self.config.seed,
            classes=self.classes,
            train_images=self.train_images,
            version=version,
        )

    def step(self, plan: StepPlan, snapshot: Reference) -> StepRecord:
        """One step: match, apply, train."""
        start = time.perf_counter()
        balances, losses = self._match(plan, snapshot)
        new_snapshot, version = self.pool.server.apply(plan)
        if plan.trains:
            losses += self._train(plan, new_snapshot)
        results = self.pool.get([*balances, *(part.reference for part in losses), version])[:-1]
        members = list(zip(losses, results[len(balances) :], strict=True))
        metrics, left_out = self._summarise(plan, results[: len(balances)], members)
        metrics["seconds/step"] = time.perf_counter() - start
        return StepRecord(plan, metrics, left_out, self._options, new_snapshot)

    def checkpoint(self, version: int) -> None:
        """Save server and members after ``version`` steps. Between iterations members are fresh and need no saving."""
        within = version % self.config.schedule.steps != 0
        members = self.plan(version).members if within else ()
        states = [self.pool.workers[member].state() for member in members]
        names = tuple(self.names[member] for member in members)
        self.pool.get([self.pool.server.save(version, names, *states)])

    # Parts

    def _begin(self, plan: StepPlan) -> None:
        workers = self._drawn(plan)
        taps = self.pool.get([worker.begin(plan.iteration) for worker in workers])
        self._options = {member.name: dict(member.options) for member in taps}
        drawn = taps if self._distils(plan) else []
        calls = [self.pool.server.begin(plan.iteration, plan.members, drawn)]
        if drawn:
            calls += [worker.align(plan.iteration, drawn) for worker in workers]
        self.pool.get(calls)

    def _resume(self, start: int) -> Reference:
        plan = self.plan(start)
        if plan.step:
            self._begin(plan)
        self.pool.get([self.pool.server.load(start)])
        if plan.step:
            states = [self.pool.server.member_state(start, self.names[member]) for member in plan.members]
            self.pool.get([worker.restore(state) for worker, state in zip(self._drawn(plan), states, strict=True)])
        return self.pool.server.snapshot()

    def _match(self, plan: StepPlan, snapshot: Reference) -> tuple[list[Reference], list[_Part]]:
        workers, server = self._drawn(plan), self.pool.server
        if plan.chooser is not None:
            selection = self.pool.workers[plan.chooser].choose(plan)
            for worker in workers:
                worker.select(plan, selection)
        balances, records = [], []
        for labels in plan.chunks:
            consensus = None
            if self._distils(plan):
                consensus = server.consensus(plan, *[worker.features(plan, labels, snapshot) for worker in workers])
            matched = [worker.match(plan, labels, snapshot, consensus) for worker in workers]
            pulled = []
            if self._distils(plan) and self.config.matching.peer_gradient == "exact":
                share = server.share(plan, *[cotangents for _, cotangents, _ in matched])
                pulled = [worker.pull_back(plan, share) for worker in workers]
            balances.append(server.collect(plan, len(workers), *[gradients for gradients, _, _ in matched], *pulled))
            records += self._named(plan, [record for _, _, record in matched], len(labels))
        return balances, records

    def _train(self, plan: StepPlan, snapshot: Reference) -> list[_Part]:
        workers = self._drawn(plan)
        if self.config.schedule.training == "synthetic":
            return self._named(plan, [worker.train_on_synthetic(plan, snapshot) for worker in workers])
        if not self._distils(plan):
            return self._named(plan, [worker.train_on_real(plan) for worker in workers])
        records = []
        for batch in range(plan.training_batches):
            consensus = self.pool.server.consensus(plan, *[worker.training_features(plan, batch) for worker in workers])
            records += self._named(plan, [worker.training_step(plan, consensus) for worker in workers])
        for batch in range(plan.training_batches):
            consensus = self.pool.server.consensus(plan, *[worker.aligner_features(plan, batch) for worker in workers])
            records += self._named(plan, [worker.aligner_step(plan, consensus) for worker in workers])
        return records

    def _drawn(self, plan: StepPlan) -> list[WorkerHandle]:
        return [self.pool.workers[member] for member in plan.members]

    def _distils(self, plan: StepPlan) -> bool:
        return self.config.matching.mutual_distillation and len(plan.members) > 1

    def _named(self, plan: StepPlan, records: Sequence[Reference], weight: int = 1) -> list[_Part]:
        return [_Part(self.names[member], record, weight) for member, record in zip(plan.members, records, strict=True)]

    def _summarise(
        self, plan: StepPlan, balances: Sequence[BalanceRecord], records: Sequence[tuple[_Part, MemberRecord]]
    ) -> tuple[dict[str, float], dict[str, int]]:
        metrics: dict[str, float] = {}
        losses: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for part, record in records:
            for what, value in record.losses.items():
                losses[f"loss/{part.name}_{what}"].append((value, part.weight))
            for phase, seconds in record.seconds.items():
                key = f"seconds/{part.name}_{phase}"
                metrics[key] = metrics.get(key, 0.0) + seconds
        for name, weighted in losses.items():
            means, classes = zip(*weighted, strict=True)
            metrics[name] = float(np.average(means, weights=classes))
        terms = [value for name, value in metrics.items() if name.startswith("loss/") and name.endswith("_distillation")]
        if terms:
            metrics[f"loss/{DISTILLATION}"] = sum(terms)
        targets = [self.names[member] for member in plan.members] + [DISTILLATION] * self._distils(plan)
        if self.config.pool.warmup or self.config.pool.drawn < len(self.names):
            metrics |= {f"pool/drawn_{name}": float(index in plan.members) for index, name in enumerate(self.names)}
        left_out = {}
        for column, target in enumerate(targets):
            entered = np.concatenate([balance.entered_KT[:, column] for balance in balances])
            for name, field in _TARGET_METRICS.items():
                values = np.concatenate([getattr(balance, field)[:, column] for balance in balances])
                metrics[f"{name}_{target}"] = float(np.mean(values[entered])) if entered.any() else 0.0
            if not entered.all():
                left_out[target] = int((~entered).sum())
        return metrics, left_out
