"""Several actors that host the same member: they share the classes of a step, and train alike.

Every replica computes the same training steps from the same draws, so that all hold the same network; results that all of
them have are taken from the first. References to the others' results are kept for the pool to check: a replica that failed
alone would continue with another network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hmdc_ray.actors.handles import RemoteWorker
from hmdc_ray.actors.session import Ref
from hmdc_ray.exchange.messages import MemberTaps
from hmdc_ray.exchange.schedule import StepPlan


class Replicas:
    """The replicas of one member as one worker; see :class:`hmdc_ray.actors.worker.PoolWorker` for the verbs.

    Args:
        workers: handles of the replicas, at least one.
        others: list that receives the other replicas' results, except features, which are large.
    """

    def __init__(self, workers: Sequence[RemoteWorker], others: list[Ref]) -> None:
        self.workers = list(workers)
        self._others = others

    def initial_images(self) -> Ref:
        return self.workers[0].initial_images()

    def begin(self, iteration: int) -> Ref:
        return self._all(lambda worker: worker.begin(iteration))

    def renew(self, iteration: int) -> Ref:
        return self._all(lambda worker: worker.renew(iteration))

    def align(self, iteration: int, drawn: Sequence[MemberTaps]) -> Ref:
        return self._all(lambda worker: worker.align(iteration, drawn))

    def choose(self, plan: StepPlan) -> Ref:
        return self.workers[0].choose(plan)

    def select(self, plan: StepPlan, selection: Ref) -> Ref:
        return self._all(lambda worker: worker.select(plan, selection))

    def features(self, plan: StepPlan, labels: tuple[int, ...], snapshot: Ref) -> Ref:
        return self._one(plan, labels).features(plan, labels, snapshot)

    def match(self, plan: StepPlan, labels: tuple[int, ...], snapshot: Ref, consensus: Ref | None) -> tuple[Ref, Ref, Ref]:
        return self._one(plan, labels).match(plan, labels, snapshot, consensus)

    def pull_back(self, plan: StepPlan, labels: tuple[int, ...], cotangents: Ref) -> Ref:
        return self._one(plan, labels).pull_back(plan, labels, cotangents)

    def train(self, plan: StepPlan, snapshot: Ref) -> Ref:
        return self._all(lambda worker: worker.train(plan, snapshot))

    def training_features(self, plan: StepPlan, batch: int, snapshot: Ref) -> Ref:
        first, *_ = [worker.training_features(plan, batch, snapshot) for worker in self.workers]
        return first

    def training_step(self, plan: StepPlan, consensus: Ref) -> Ref:
        return self._all(lambda worker: worker.training_step(plan, consensus))

    def aligner_features(self, plan: StepPlan, batch: int) -> Ref:
        first, *_ = [worker.aligner_features(plan, batch) for worker in self.workers]
        return first

    def aligner_step(self, plan: StepPlan, batch: int, consensus: Ref) -> Ref:
        return self._all(lambda worker: worker.aligner_step(plan, batch, consensus))

    def probe_features(self, plan: StepPlan) -> Ref:
        return self.workers[0].probe_features(plan)

    def probe(self, plan: StepPlan, consensus: Ref) -> Ref:
        return self.workers[0].probe(plan, consensus)

    def selection(self, plan: StepPlan) -> Ref:
        return self.workers[0].selection(plan)

    def state(self) -> Ref:
        return self.workers[0].state()

    def restore(self, state: Ref) -> Ref:
        return self._all(lambda worker: worker.restore(state))

    def _one(self, plan: StepPlan, labels: tuple[int, ...]) -> RemoteWorker:
        """The replica that a chunk of classes belongs to."""
        return self.workers[plan.chunks.index(labels) % len(self.workers)]

    def _all(self, call: Callable[[RemoteWorker], Ref]) -> Ref:
        """Call every replica; returns the first one's result."""
        first, *others = [call(worker) for worker in self.workers]
        self._others += others
        return first
