"""The round loop: plans each step and passes references between actors. It never holds a tensor,
and imports no Ray.

One step at image version v, with mutual distillation (workers act at the same time, the server in
the order of the pool)::

    coordinator            worker k                                   server
    plan v   ------------> choose (whose turn it is), select
    snapshot v ----------> features: real and synthetic batch ------> consensus (mean over members)
                           match: cotangents <-----------------------'
                                  '---------------------------------> share (sum of cotangents)
                           pull_back: gradients <--------------------'
                                  '---------------------------------> balance_gradients: check v
    all classes balanced ------------------------------------------> apply: image step, v + 1
    training: features -> consensus -> step, batch by batch; of networks, then of aligners, also
    before the first step log; picture and checkpoint whenever they are due

Without mutual distillation ``match`` is the only exchange; it gives the gradients then, and when
the peers' part is detached.

At every iteration's start and every few steps the pool takes a cut: the state of all after the same
step. When a process is lost, the pool replaces it, everyone goes back to the last cut, and the
steps since then are repeated. Draws are keyed by step, so the images are those of an undisturbed
run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hmdc_ray.config import RunConfig
from hmdc_ray.errors import DeadEndError, LostProcessError, RunError
from hmdc_ray.exchange.messages import MemberTaps, Snapshot
from hmdc_ray.exchange.protocols import Pool, WorkerHandle
from hmdc_ray.exchange.recovery import HEALTH, Cut, Health
from hmdc_ray.exchange.schedule import StepPlan, plan_step, total_steps
from hmdc_ray.exchange.step_records import DISTILLATION, Part, Reference, StepRecord, summarise

SERVER = "server"
"""Name of the server's state in a checkpoint."""

AHEAD = 2
"""How many chunks of classes, or training batches, a process is given ahead of the one that it
works on.

With fewer it would wait while others finish theirs. With all at once the driver's memory would grow
with classes and members, and the messages of fast members would pile up until the slow ones send
theirs.
"""


class Coordinator:
    """Runs the steps of a run on a pool.

    Args:
        config: the run.
        pool: workers in the order of the pool, and the server.
        classes: number of classes.
        train_images: number of real training images.
        tell: receiver of events: called with a kind of :mod:`hmdc_ray.run.events`, the steps done,
            and the event's fields.
    """

    def __init__(
        self, config: RunConfig, pool: Pool, *, classes: int, train_images: int, tell: Callable[..., object] | None = None
    ) -> None:
        self.config = config
        self.pool = pool
        self.classes = classes
        self.train_images = train_images
        self.names = [member.name for member in config.pool.members]
        self.health = Health()
        self._tell = tell or (lambda kind, step, **fields: None)
        self._options: dict[str, dict[str, Any]] = {}
        self._taps: list[MemberTaps] = []
        self._cut: Cut | None = None
        self._broken_since: float | None = None
        self._restarted: list[str] = []

    def run(self, start: int, after_step: Callable[[StepRecord], None]) -> Snapshot:
        """Run all steps from image version ``start``, calling ``after_step`` after each; it may
        raise to stop.

        After a fault ``after_step`` is called again for the steps that are repeated. A start in the
        middle of an iteration restores the members from the checkpoint of that version.

        Returns:
            The images after the last step.

        Raises:
            RunError: the pool cannot continue.
        """
        version, reached, faults = start, start, 0
        snapshot: Reference | None = None
        while True:
            try:
                if faults and snapshot is None:
                    self._heal(reached)
                if snapshot is None:
                    version, snapshot = self._go_back(start, version)
                while version < total_steps(self.config.schedule):
                    snapshot = self._advance(version, snapshot, after_step)
                    version += 1
                    if version > reached:
                        reached, faults = version, 0
                images: Snapshot = self.pool.get([snapshot])[0]
                return images
            except LostProcessError as fault:
                faults, snapshot = faults + 1, None
                self._tell("fault", version, what=str(fault))
                if faults > self.config.cluster.recovery_attempts:
                    raise RunError(
                        f"after {faults} faults at step {version} the pool gives up, the last: {fault}; see events.jsonl in "
                        "the run's folder, and set cluster.recovery_attempts to a larger number if that may pass"
                    ) from fault

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
            synthetic_images=self.classes * self.config.images.ipc * self.config.images.formation**2,
            absent=[self.names.index(name) for name in self.health.absent],
            shards=self.config.server_shards,
        )

    def step(self, plan: StepPlan, snapshot: Reference) -> StepRecord:
        """One step: match, apply, train."""
        start = time.perf_counter()
        parts = [] if plan.step else self._align(plan)
        parts += self._probe(plan) if plan.probes else []
        balances, matched = self._match(plan, snapshot)
        new_snapshot, applied = self.pool.server.apply(plan)
        parts += matched + (self._train(plan, new_snapshot) if plan.trains else [])
        parts += [] if self._is_last(plan) else self._align(self.plan(plan.version + 1))
        *results, _ = self.pool.get([*balances, *(part.reference for part in parts), applied])
        members = list(zip(parts, results[len(balances) :], strict=True))
        targets = [self.names[member] for member in plan.members] + [DISTILLATION] * self._distils(plan)
        metrics, left_out, bad = summarise(targets, results[: len(balances)], members)
        if self.config.pool.warmup or self.config.pool.drawn < len(self.names):
            metrics |= {f"pool/drawn_{name}": float(index in plan.members) for index, name in enumerate(self.names)}
        metrics["seconds/step"] = time.perf_counter() - start
        return StepRecord(plan, metrics, left_out, bad, self._options, new_snapshot)

    def checkpoint(self, version: int) -> None:
        """Save server and members after ``version`` steps. Between iterations members are fresh and
        need no saving."""
        states = {SERVER: self.pool.server.state()}
        states |= {self.names[member]: state for member, state in self._member_states(version).items()}
        states[HEALTH] = self.health.state()
        self.pool.get([self.pool.server.save(version, tuple(states), *states.values())])

    # Faults

    def _take_cut(self, version: int) -> None:
        cut = Cut(version, self.pool.server.state(), self._member_states(version), self.health)
        self.pool.keep(cut.references)
        self._cut = cut
        self._tell("cut", version)

    def _heal(self, step: int) -> None:
        """Replace what is lost; members for which there are no resources leave the pool."""
        self._broken_since = self._broken_since or time.perf_counter()
        healed = self.pool.heal()
        self._restarted += healed.restarted
        lost = {self.names[member]: reason for member, reason in healed.lost.items()}
        new = [name for name in lost if name not in self.health.absent]
        for name in new:
            self._tell("left_out", step, member=name, reason=lost[name])
        if new:
            self._leave(new)

    def _go_back(self, start: int, reached: int) -> tuple[int, Reference]:
        """Restore the last cut, or the start of the run; returns the image version and a reference
        to the images."""
        left = self.health.absent
        if self._cut is None:
            self._cut = self._first_cut(start)
        self._cut = replace(self._cut, health=self._cut.health.without(*left))  # members that left since then do not return
        snapshot = self._restore(self._cut)
        if self._broken_since is not None:
            seconds = round(time.perf_counter() - self._broken_since, 3)
            steps = reached - self._cut.version
            self._tell("recovered", self._cut.version, restarted=self._restarted, steps=steps, seconds=seconds)
            self._broken_since, self._restarted = None, []
        return self._cut.version, snapshot

    def _first_cut(self, start: int) -> Cut:
        """The cut of a version's checkpoint; of version 0, the server as it starts."""
        if start == 0:
            cut = Cut(0, self.pool.server.state(), {}, Health())
        else:
            saved = self.pool.server.saved
            (state,) = self.pool.get([saved(start, HEALTH)])
            health = self.health = Health.restored(state)
            plan = self.plan(start)
            members = {member: saved(start, self.names[member]) for member in plan.members} if plan.step else {}
            cut = Cut(start, saved(start, SERVER), members, health)
        self.pool.keep(cut.references)
        return cut

    def _restore(self, cut: Cut) -> Reference:
        """Restore server and members to a cut. Members that take part only because others have left
        start fresh, with the real images that the others use."""
        self.health = cut.health
        plan = self.plan(cut.version)
        if plan.step:
            self._begin(plan)
        same = set(plan.members) == set(cut.members)
        calls = [self.pool.server.restore(cut.server, same)]
        staying = [member for member in plan.members if member in cut.members]
        calls += [self.pool.workers[member].restore(cut.members[member]) for member in staying]
        fresh = [member for member in plan.members if member not in cut.members]
        if staying and fresh:
            selection = self.pool.workers[staying[0]].selection(plan)
            calls += [self.pool.workers[member].select(plan, selection) for member in fresh]
        self.pool.get(calls)
        if plan.step and not same:  # aligners are fresh, or were trained with a member that has left
            self._get(self._align(plan))
        return self.pool.server.snapshot()

    def _leave(self, names: Sequence[str]) -> None:
        """Exclude members from all plans from now on."""
        self.health = self.health.without(*names)
        if len(self.health.absent) == len(self.names):
            raise DeadEndError(
                f"no member of the pool is left, the last was {names[-1]!r}: see events.jsonl in the run's folder, and start "
                "anew with --overwrite, with smaller learning rates (images.learning_rate) or more resources"
            )

    def _watch(self, plan: StepPlan, record: StepRecord) -> None:
        """Count steps with gradients that are not finite; a member that keeps having them is reset
        first, then leaves."""
        limit, done = self.config.pool.bad_steps, plan.version + 1
        for member in plan.members:
            name = self.names[member]
            bad = record.bad.get(name)
            if bad is None:
                continue
            self.health = self.health.with_bad_step(name)
            where = {"member": name, "iteration": plan.iteration, "classes": bad.labels, "largest_norm": bad.largest_norm}
            self._tell("left_out", done, **where)
            if self.health.bad_steps[name] == limit:
                self._tell("reset", done, **where)
                self._renew(plan, member)
            elif self.health.bad_steps[name] == 2 * limit:
                self._tell("quarantined", done, **where)
                self._go_on_without(plan, name)

    def _renew(self, plan: StepPlan, member: int) -> None:
        worker = self.pool.workers[member]
        calls = [worker.renew(plan.iteration), self.pool.server.renewed(plan.members.index(member))]
        if self._distils(plan):
            calls.append(worker.align(plan.iteration, self._taps))
        self.pool.get(calls)
        if not self._is_last(plan):
            self._get(self._align(self.plan(plan.version + 1)))

    def _go_on_without(self, plan: StepPlan, name: str) -> None:
        """Exclude a member after a step: the others keep their state, and the balance starts
        anew."""
        states = self._member_states(plan.version + 1)
        cut = Cut(plan.version + 1, self.pool.server.state(), states, self.health)
        self.pool.keep(cut.references)
        self._leave([name])
        self._cut = replace(cut, health=self.health)
        self._restore(self._cut)

    # Parts

    def _advance(self, version: int, snapshot: Reference, after_step: Callable[[StepRecord], None]) -> Reference:
        plan = self.plan(version)
        due = plan.step == 0 or version % self.config.cluster.cut_every == 0
        if due and (self._cut is None or self._cut.version != version):  # else the pool has just gone back to it
            self._take_cut(version)
        if plan.step == 0:
            self._begin(plan)
        record = self.step(plan, snapshot)
        self._watch(plan, record)
        after_step(record)
        return record.snapshot

    def _begin(self, plan: StepPlan) -> None:
        workers = self._drawn(plan)
        if len(plan.members) < len(self.names):
            self._tell("member_drawn", plan.version, iteration=plan.iteration, members=[self.names[m] for m in plan.members])
        self._taps = self.pool.get([worker.begin(plan.iteration) for worker in workers])
        self._options = {member.name: dict(member.options) for member in self._taps}
        drawn = self._taps if self._distils(plan) else []
        calls = [self.pool.server.begin(plan.iteration, plan.members, drawn)]
        if drawn:
            calls += [worker.align(plan.iteration, drawn) for worker in workers]
        self.pool.get(calls)

    def _member_states(self, version: int) -> dict[int, Reference]:
        """States after ``version`` steps of the members drawn, by position; none at an iteration's
        start."""
        plan = self.plan(version)
        return {member: self.pool.workers[member].state() for member in plan.members} if plan.step else {}

    def _match(self, plan: StepPlan, snapshot: Reference) -> tuple[list[Reference], list[Part]]:
        workers, server = self._drawn(plan), self.pool.server
        if plan.chooser is not None:
            selection = self.pool.workers[plan.chooser].choose(plan)
            # Wait, because a member that did not receive it would continue with other images, and
            # nothing would fail.
            self.pool.get([worker.select(plan, selection) for worker in workers])
        balances: list[Reference] = []
        records: list[Part] = []
        # Replicas and shards take turns: each of them has one in so many chunks.
        replicas = max(self.config.pool.members[member].replicas for member in plan.members)
        turns = max(self.config.server_shards, replicas)
        for labels in plan.chunks:
            self._keep_pace(AHEAD * turns, [[balance] for balance in balances])
            consensus = None
            if self._distils(plan):
                consensus = server.consensus(plan, labels, *[worker.features(plan, labels, snapshot) for worker in workers])
            matched = [worker.match(plan, labels, snapshot, consensus) for worker in workers]
            gradients = [found for found, _, _ in matched]
            if self._distils(plan) and self.config.matching.peer_gradient == "exact":
                share = server.share(plan, labels, *[cotangents for _, cotangents, _ in matched])
                gradients = [worker.pull_back(plan, labels, share) for worker in workers]
            balances.append(server.balance_gradients(plan, labels, *gradients))
            records += self._named(plan, [record for _, _, record in matched], len(labels))
        return balances, records

    def _train(self, plan: StepPlan, snapshot: Reference) -> list[Part]:
        workers = self._drawn(plan)
        if not self._distils(plan):
            return self._named(plan, [worker.train(plan, snapshot) for worker in workers])
        batches: list[list[Reference]] = []
        for batch in range(plan.training_batches):
            self._keep_pace(AHEAD, batches)
            features = [worker.training_features(plan, batch, snapshot) for worker in workers]
            consensus = self._consensus(plan, batch, features)
            batches.append([worker.training_step(plan, consensus) for worker in workers])
        return [part for steps in batches for part in self._named(plan, steps)]

    def _align(self, plan: StepPlan) -> list[Part]:
        """Train the aligners for a step, independently of the networks' training; nothing without
        mutual distillation."""
        if not self._distils(plan):
            return []
        workers = self._drawn(plan)
        batches: list[list[Reference]] = []
        for batch in range(plan.aligner_batches + 1):  # the last one measures
            self._keep_pace(AHEAD, batches)
            features = [worker.aligner_features(plan, batch) for worker in workers]
            consensus = self._consensus(plan, batch, features)
            batches.append([worker.aligner_step(plan, batch, consensus) for worker in workers])
        return [part for steps in batches for part in self._named(plan, steps)]

    def _probe(self, plan: StepPlan) -> list[Part]:
        """Let the first member drawn measure how well the consensus separates the classes."""
        workers = self._drawn(plan)
        consensus = self._consensus(plan, 0, [worker.probe_features(plan) for worker in workers])
        return [Part(self.names[plan.members[0]], workers[0].probe(plan, consensus), 1)]

    def _is_last(self, plan: StepPlan) -> bool:
        """Whether a step is its iteration's last, after which networks and aligners are redrawn."""
        return plan.step + 1 == self.config.schedule.steps

    def _consensus(self, plan: StepPlan, batch: int, features: Sequence[Reference]) -> Reference:
        """The consensus of a training batch, from the server's shards in turn, as for chunks of
        classes."""
        return self.pool.server.consensus(plan, plan.chunks[batch % len(plan.chunks)], *features)

    def _keep_pace(self, ahead: int, rounds: Sequence[Sequence[Reference]]) -> None:
        """Wait for the results of a round of calls before more than ``ahead`` rounds follow it. Of
        replicas, which all train alike, only the first one's results are waited for."""
        if len(rounds) > ahead:
            self.pool.get(rounds[-1 - ahead])

    def _get(self, parts: Sequence[Part]) -> None:
        """Wait for calls whose records nobody needs."""
        self.pool.get([part.reference for part in parts])

    def _drawn(self, plan: StepPlan) -> list[WorkerHandle]:
        return [self.pool.workers[member] for member in plan.members]

    def _distils(self, plan: StepPlan) -> bool:
        return self.config.matching.mutual_distillation and len(plan.members) > 1

    def _named(self, plan: StepPlan, records: Sequence[Reference], weight: int = 1) -> list[Part]:
        return [Part(self.names[member], record, weight) for member, record in zip(plan.members, records, strict=True)]
