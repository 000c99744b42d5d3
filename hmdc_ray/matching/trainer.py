"""Training of a member's network between image steps: on real data as HMDC and IDC do, or on
synthetic data as DC does.

With mutual distillation a batch takes one exchange: ``features``, then ``step`` with the consensus.

Shapes: B images of a batch, C x H x W an image, K classes; L layers, T tokens, D channels of
aligned features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hmdc_ray.data.cutmix import cutmix
from hmdc_ray.exchange.messages import Features, MemberRecord, Snapshot, check_version
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.matching.draws import Draw, placed
from hmdc_ray.matching.member import Member, features_message
from hmdc_ray.seeding import Key, forked
from hmdc_ray.system.transfer import to_host


class Trainer:
    """Trains a member's network after an image step; SGD without momentum.

    Args:
        member: the pool member.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        self._loss: Tensor | None = None
        self._features_BLTD: Tensor | None = None
        self._decoded: tuple[Tensor, Tensor] | None = None
        self._draws: list[Draw] = []
        self._losses: list[Tensor] = []

    def alone(self, plan: StepPlan, snapshot: Snapshot) -> MemberRecord:
        """All of a step's training on cross-entropy alone, for pools without mutual
        distillation."""
        losses = []
        for batch in range(plan.training_batches):
            loss, _ = self._forward(plan, batch, snapshot)
            self._update(loss)
            losses.append(loss.detach())
        with self.member.clock.phase("training"):
            total = sum(to_host([torch.stack(losses)])[0].tolist())
        return MemberRecord({"training": total / plan.training_batches}, self.member.clock.take())

    def features(self, plan: StepPlan, batch: int, snapshot: Snapshot) -> Features:
        """Aligned features of a training batch, (B, L, T, D); the graph stays here until
        :meth:`step`."""
        self._loss, self._features_BLTD = self._forward(plan, batch, snapshot)
        assert self._features_BLTD is not None
        with self.member.clock.phase("training"):
            return features_message(plan.version, [self._features_BLTD.detach()])

    def step(self, plan: StepPlan, consensus: Features) -> MemberRecord:
        """Take a step of the network on CE_k + L_MD (HMDC section 3.3); the aligner stays as it
        is.

        The last batch's record has the mean losses of all batches, the others' have none: to look
        at a loss, a GPU would have to be waited for.
        """
        check_version("a consensus", consensus.version, plan.version)
        assert self._loss is not None and self._features_BLTD is not None
        loss, distillation = self._loss, self.member.agreement_loss(self._features_BLTD, consensus.batches[0])
        self._update(loss + distillation)
        self._loss = self._features_BLTD = None
        self._losses.append(torch.stack([loss.detach(), distillation.detach()]))
        found = {}
        if len(self._losses) == plan.training_batches:
            with self.member.clock.phase("training"):
                means = np.mean(to_host([torch.stack(self._losses)])[0].tolist(), axis=0)
            found = dict(zip(("training", "agreement"), means.tolist(), strict=True))
        return MemberRecord(found, self.member.clock.take())

    # Parts

    def _forward(self, plan: StepPlan, batch: int, snapshot: Snapshot) -> tuple[Tensor, Tensor | None]:
        """CE_k of a training batch, a scalar, and its aligned features (B, L, T, D) if there is an
        aligner."""
        check_version("a snapshot", snapshot.version, plan.version + 1)  # the images after the plan's step
        member = self.member
        with member.clock.phase("training_data"):
            images_BCHW, labels_B = self._batch(plan, batch, snapshot)
        with member.clock.phase("training"), forked(member.key("train_network", plan.iteration, plan.step, batch=batch)):
            member.network.train()
            if not (member.config.cutmix and member.schedule.training == "real"):
                logits_BK, features_BLTD = member.observe(images_BCHW)
                return F.cross_entropy(logits_BK, labels_B), features_BLTD
            # Members agree on unmixed images: not every member mixes, and all must see the same
            # ones.
            key = Key(member.seed, "cutmix", iteration=plan.iteration, step=plan.step, batch=batch)
            mixed = cutmix(images_BCHW, labels_B, key)
            features_BLTD = member.observe(images_BCHW)[1] if member.aligner is not None else None
            return mixed.loss(member.network(mixed.images)), features_BLTD

    def _batch(self, plan: StepPlan, batch: int, snapshot: Snapshot) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) and labels (B,) of a training batch; batches come in their order."""
        batches = self.member.batches
        if batch == 0:
            self._begin(plan, snapshot)
        draw, decoded = self._draws[batch], self._decoded
        if batch + 1 == plan.training_batches:
            self._draws, self._decoded = [], None
        if decoded is None:
            return batches.real(draw), draw.labels_B
        images_NCHW, labels_N = decoded
        return draw.augmentation(images_NCHW[draw.rows_B]), labels_N[draw.rows_B]

    def _begin(self, plan: StepPlan, snapshot: Snapshot) -> None:
        """Draw for all batches of a step."""
        member, schedule, self._decoded, self._losses = self.member, self.member.schedule, None, []
        if schedule.training == "real":
            draws = member.batches.real_training(plan, schedule)
        else:
            self._decoded = member.batches.decoded(snapshot)
            order = member.index if member.aligner is None else 0  # members that agree on a batch must see the same images
            draws = member.batches.synthetic_training(plan, schedule.batch, len(self._decoded[0]), order)
        self._draws, _ = placed(draws, member.device)

    def _update(self, loss: Tensor) -> None:
        member = self.member
        with member.clock.phase("training"):
            member.descend(member.optimiser, member.parameters, loss)
