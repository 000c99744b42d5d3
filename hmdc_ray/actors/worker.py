"""One pool member as a process hosts it: the plain class behind the ``PoolWorker`` actor, usable in any process."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.exchange.call_size import WorkerMemory
from hmdc_ray.exchange.messages import (
    Array,
    Cotangents,
    Features,
    Gradients,
    MemberDescription,
    MemberRecord,
    MemberTaps,
    Selection,
    Snapshot,
    State,
)
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.matching.alignment import Alignment
from hmdc_ray.matching.footprint import measure
from hmdc_ray.matching.matcher import Matcher
from hmdc_ray.matching.member import Member
from hmdc_ray.matching.trainer import Trainer
from hmdc_ray.models.precision import set_gpu_format
from hmdc_ray.system.memory import free_bytes, own_bytes


class PoolWorker:
    """Hosts one architecture of the pool: network, aligner, optimisers and reader. One verb per call, each safe alone.

    Args:
        index: position of the member in the pool.
        config: the run.
    """

    def __init__(self, index: int, config: RunConfig) -> None:
        torch.set_num_threads(config.cluster.threads)
        member = config.pool.members[index]
        device = torch.device("cuda" if member.num_gpus > 0 and torch.cuda.is_available() else "cpu")
        if device.type == "cuda":
            set_gpu_format(config.matching.precision)
        self.member = Member(
            index=index,
            seed=config.seed,
            config=member,
            matching=config.matching,
            schedule=config.schedule,
            images=config.images,
            dataset=open_dataset(config.data),
            device=device,
        )
        self.matcher = Matcher(self.member)
        self.trainer = Trainer(self.member)
        self.alignment = Alignment(self.member)

    def build(self) -> MemberDescription:
        """Description of the member in this process."""
        member = self.member
        return MemberDescription(
            name=member.config.name,
            parameters=sum(parameter.numel() for parameter in member.parameters),
            device=str(member.device),
            gpu_ids=(),
            node="",
            pid=os.getpid(),
            threads=torch.get_num_threads(),
            data=member.batches.dataset.info.fingerprint,
            taps=member.taps,
        )

    def measure(self, drawn: Sequence[MemberTaps]) -> WorkerMemory:
        """The memory that the worker's work needs, and what is free for it; to be called before an iteration begins.

        Args:
            drawn: taps of the members that it agrees with, its own among them; none without mutual distillation.
        """
        member, gpu = self.member, self.member.device.type == "cuda"
        own = torch.cuda.memory_reserved() if gpu else own_bytes()
        free = torch.cuda.mem_get_info()[0] if gpu else free_bytes()
        part = min(1.0, member.config.num_gpus) if gpu else 0.0
        return WorkerMemory(member.config.name, "", part, own, free, measure(member, drawn))

    def initial_images(self) -> Array:
        """Images before the first step, (K, I, C, H, W); see :meth:`Member.initial_images`."""
        return self.member.initial_images()

    def begin(self, iteration: int) -> MemberTaps:
        """See :meth:`Member.begin`. Any state of an interrupted step is discarded."""
        self.matcher, self.trainer, self.alignment = Matcher(self.member), Trainer(self.member), Alignment(self.member)
        return self.member.begin(iteration)

    def renew(self, iteration: int) -> MemberTaps:
        """Begin the iteration again in its middle, with the real images that were chosen."""
        selection = self.member.selection
        taps = self.begin(iteration)
        self.member.selection = selection
        return taps

    def align(self, iteration: int, drawn: Sequence[MemberTaps]) -> None:
        """See :meth:`Member.align`."""
        self.member.align(iteration, drawn)

    def choose(self, plan: StepPlan) -> Selection:
        """See :meth:`Member.choose`."""
        return self.member.choose(plan)

    def select(self, plan: StepPlan, selection: Selection) -> None:
        """See :meth:`Member.select`."""
        self.member.select(plan, selection)

    def selection(self, plan: StepPlan) -> Selection:
        """See :meth:`Member.current_selection`."""
        return self.member.current_selection(plan)

    def features(self, plan: StepPlan, labels: tuple[int, ...], snapshot: Snapshot) -> Features:
        """See :meth:`Matcher.features`."""
        return self.matcher.features(plan, labels, snapshot)

    def match(
        self, plan: StepPlan, labels: tuple[int, ...], snapshot: Snapshot, consensus: Features | None
    ) -> tuple[Gradients | None, Cotangents | None, MemberRecord]:
        """See :meth:`Matcher.match`."""
        return self.matcher.match(plan, labels, snapshot, consensus)

    def pull_back(self, plan: StepPlan, labels: tuple[int, ...], cotangents: Cotangents) -> Gradients:
        """See :meth:`Matcher.pull_back`; ``labels`` are the chunk's."""
        assert labels == cotangents.labels, (labels, cotangents.labels)
        return self.matcher.pull_back(plan, cotangents)

    def train(self, plan: StepPlan, snapshot: Snapshot) -> MemberRecord:
        """See :meth:`Trainer.alone`."""
        return self.trainer.alone(plan, snapshot)

    def training_features(self, plan: StepPlan, batch: int, snapshot: Snapshot) -> Features:
        """See :meth:`Trainer.features`."""
        return self.trainer.features(plan, batch, snapshot)

    def training_step(self, plan: StepPlan, consensus: Features) -> MemberRecord:
        """See :meth:`Trainer.step`."""
        return self.trainer.step(plan, consensus)

    def aligner_features(self, plan: StepPlan, batch: int) -> Features:
        """See :meth:`Alignment.features`."""
        return self.alignment.features(plan, batch)

    def aligner_step(self, plan: StepPlan, batch: int, consensus: Features) -> MemberRecord:
        """See :meth:`Alignment.step`."""
        return self.alignment.step(plan, batch, consensus)

    def probe_features(self, plan: StepPlan) -> Features:
        """See :meth:`Alignment.probe_features`."""
        return self.alignment.probe_features(plan)

    def probe(self, plan: StepPlan, consensus: Features) -> MemberRecord:
        """See :meth:`Alignment.probe`."""
        return self.alignment.probe(plan, consensus)

    def state(self) -> State:
        """See :meth:`Member.state`."""
        return self.member.state()

    def restore(self, state: State) -> None:
        """See :meth:`Member.restore`."""
        self.member.restore(state)
