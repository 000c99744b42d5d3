"""Training of a member's network between image steps (section 9 of HMDC's and IDC's loops on real data, DC's on synthetic).

With mutual distillation a batch takes one exchange: ``features``, then ``step`` with the consensus. B images of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F

from hmdc_ray.data.cutmix import cutmix
from hmdc_ray.data.cutting import batch_slices
from hmdc_ray.data.packing import decode
from hmdc_ray.matching.choice import random_choice
from hmdc_ray.matching.member import Member, features_message
from hmdc_ray.messages import Features, MemberRecord, Snapshot, check_version
from hmdc_ray.models.batchnorm import freeze_batchnorm
from hmdc_ray.schedule import StepPlan
from hmdc_ray.seeding import Key, forked


class Trainer:
    """Trains a member's network, and its aligner, after an image step."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self._loss: Tensor | None = None
        self._features: Tensor | None = None

    def on_synthetic(self, plan: StepPlan, snapshot: Snapshot) -> MemberRecord:
        """Train on the new synthetic images for ``inner_epochs`` epochs: cross-entropy, SGD without momentum (DC)."""
        check_version("a snapshot", snapshot.version, plan.version + 1)
        member = self.member
        freeze_batchnorm(member.network, False)
        images_KICHW = member.tensor(snapshot.images_KICHW)
        decoded = torch.cat([decode(images, member.images.formation) for images in images_KICHW])
        labels = torch.arange(len(images_KICHW), device=member.device).repeat_interleave(len(decoded) // len(images_KICHW))
        total, batches = 0.0, 0
        with member.clock.phase("training"), forked(member.key("train_network", plan.iteration, plan.step)):
            for epoch in range(member.schedule.inner_epochs):
                order = random_choice(
                    len(decoded), len(decoded), member.key("train_images", plan.iteration, plan.step, batch=epoch)
                )
                for places in batch_slices(len(order), member.schedule.batch):
                    rows = torch.from_numpy(order[places]).to(member.device)
                    augment = member.batches.augmentation(plan, "train_augmentation", batch=batches)
                    loss = F.cross_entropy(member.network(augment(decoded[rows])), labels[rows])
                    self._update(member.optimiser, member.parameters, loss)
                    total, batches = total + float(loss.detach()), batches + 1
        return MemberRecord({"training": total / batches}, member.clock.take())

    def on_real(self, plan: StepPlan) -> MemberRecord:
        """Train on the step's real images: cross-entropy alone, for pools without mutual distillation."""
        total = 0.0
        for batch in range(plan.training_batches):
            loss, _ = self._forward(plan, batch)
            self._update(self.member.optimiser, self.member.parameters, loss)
            total += float(loss.detach())
        return MemberRecord({"training": total / plan.training_batches}, self.member.clock.take())

    def features(self, plan: StepPlan, batch: int) -> Features:
        """Aligned features of a real batch; the graph stays here until :meth:`step`."""
        self._loss, self._features = self._forward(plan, batch)
        assert self._features is not None
        with self.member.clock.phase("training"):
            return features_message(plan.version, [self._features.detach()])

    def step(self, plan: StepPlan, consensus: Features) -> MemberRecord:
        """Update the network along cross-entropy plus L_MD; the aligner stays as it is."""
        assert self._loss is not None
        distillation = self._distillation(plan, consensus)
        loss = self._loss
        self._update(self.member.optimiser, self.member.parameters, loss + distillation)
        self._loss = self._features = None
        return MemberRecord(
            {"training": float(loss.detach()), "agreement": float(distillation.detach())}, self.member.clock.take()
        )

    def aligner_features(self, plan: StepPlan, batch: int) -> Features:
        """Aligned features of a real batch with the network fixed."""
        member = self.member
        assert member.aligner is not None
        with member.clock.phase("aligner_training"):
            member.network.eval()
            images, _ = self._batch(plan, batch)
            with torch.no_grad():
                observation = member.network.observe(images)
            self._features = member.aligner(observation.features)
            return features_message(plan.version, [self._features.detach()])

    def aligner_step(self, plan: StepPlan, consensus: Features) -> MemberRecord:
        """Update the aligner along L_MD; the network stays as it is."""
        distillation = self._distillation(plan, consensus)
        assert self.member.aligner is not None
        parameters = list(self.member.aligner.parameters())
        self._update(self.member.aligner_optimiser, parameters, distillation, phase="aligner_training")
        self._features = None
        return MemberRecord({"alignment": float(distillation.detach())}, self.member.clock.take())

    # Parts

    def _batch(self, plan: StepPlan, batch: int) -> tuple[Tensor, Tensor]:
        batches, schedule = self.member.batches, self.member.schedule
        rows = batches.training_rows(plan, schedule.real_images)
        rows = rows[batch_slices(len(rows), schedule.batch)[batch]]
        augment = batches.augmentation(plan, "train_augmentation", batch=batch)
        return augment(batches.rows(rows)), batches.labels(rows)

    def _forward(self, plan: StepPlan, batch: int) -> tuple[Tensor, Tensor | None]:
        member = self.member
        with member.clock.phase("training_data"):
            images, labels = self._batch(plan, batch)
        with member.clock.phase("training"), forked(member.key("train_network", plan.iteration, plan.step, batch=batch)):
            member.network.train()
            if not member.config.cutmix:
                logits, features = member.observe(images)
                return F.cross_entropy(logits, labels), features
            # Members agree on unmixed images: not every member mixes, and all must see the same ones.
            mixed = cutmix(images, labels, Key(member.seed, "cutmix", iteration=plan.iteration, step=plan.step, batch=batch))
            features = member.observe(images)[1] if member.aligner is not None else None
            return mixed.loss(member.network(mixed.images)), features

    def _distillation(self, plan: StepPlan, consensus: Features) -> Tensor:
        check_version("a consensus", consensus.version, plan.version)
        member = self.member
        assert member.agreement is not None and self._features is not None
        return member.agreement.loss(member.position, self._features, member.tensor(consensus.batches[0]))

    def _update(
        self, optimiser: torch.optim.Optimizer, parameters: list[Parameter], loss: Tensor, phase: str = "training"
    ) -> None:
        with self.member.clock.phase(phase):
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            optimiser.step()
            optimiser.zero_grad()
