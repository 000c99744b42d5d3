"""A member's share of the gradient matching in one step, in one to three exchanges with the parameter server.

With mutual distillation the calls come in the order ``features``, ``match``, ``pull_back``, chunk by chunk, and the last gives
the gradients; where peers' parts are detached, ``match`` is the last, and without distillation the only one.

Shapes: K classes of a chunk, I stored images per class, C x H x W an image, B images of a batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from hmdc_ray.exchange.messages import Array, Cotangents, Features, Gradients, MemberRecord, Snapshot, check_version
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.matching.gradients import (
    DistillationTerm,
    agreement_gradient,
    classification_gradient,
    classification_target,
    distillation_target,
    pull_back,
)
from hmdc_ray.matching.member import Member, array, features_message
from hmdc_ray.matching.sizes import gradient_sizes
from hmdc_ray.seeding import forked


@dataclass
class Forwarded:
    """One class between the exchanges: the leaf, and what the network made of both batches."""

    images: Tensor
    labels_real: Tensor
    labels_synthetic: Tensor
    logits_real: Tensor
    logits_synthetic: Tensor
    features_real: Tensor | None
    features_synthetic: Tensor | None


@dataclass
class Matched:
    """The targets of one class and their gradients, until those of its chunk are sent."""

    classification: Tensor
    classification_loss: float
    distillation: Tensor | None = None
    distillation_loss: float = 0.0


@dataclass(frozen=True)
class RealGradients:
    """Gradients of a class' real batch with respect to the network: what those of the synthetic batch are compared with."""

    classification: Sequence[Tensor]
    distillation: Sequence[Tensor | None]


class Matcher:
    """Computes a member's targets on real/synthetic pairs; holds graphs and gradients of a chunk between its exchanges."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self._forwarded: dict[int, Forwarded] = {}
        self._matched: dict[int, Matched] = {}

    def features(self, plan: StepPlan, labels: tuple[int, ...], snapshot: Snapshot) -> Features:
        """First exchange: aligned features of both batches of each class. Their graphs stay here."""
        member = self.member
        member.prepare(plan)
        check_version("a snapshot", snapshot.version, plan.version)
        batches: list[Tensor] = []
        for label in labels:
            forwarded = self._forwarded[label] = self._forward(plan, label, snapshot)
            assert forwarded.features_real is not None and forwarded.features_synthetic is not None
            batches += [forwarded.features_real.detach(), forwarded.features_synthetic.detach()]
        with member.clock.phase("forward"):
            return features_message(plan.version, batches)

    def match(
        self, plan: StepPlan, labels: tuple[int, ...], snapshot: Snapshot, consensus: Features | None
    ) -> tuple[Gradients | None, Cotangents | None, MemberRecord]:
        """Second exchange: targets of both batches, and their gradients with respect to the images and the consensus.

        Args:
            plan: the step.
            labels: classes of this chunk.
            snapshot: the images.
            consensus: of the features that this member sent for the chunk; None without mutual distillation.

        Returns:
            The gradients, unless :meth:`pull_back` is to complete them; the cotangents, if it is; and numbers.
        """
        member = self.member
        member.prepare(plan)
        check_version("a snapshot", snapshot.version, plan.version)
        cotangents = []
        losses: dict[str, list[float]] = defaultdict(list)
        for position, label in enumerate(labels):
            forwarded = self._forward(plan, label, snapshot) if consensus is None else self._forwarded[label]
            batches = None
            if consensus is not None:
                check_version("a consensus", consensus.version, plan.version)
                batches = consensus.batches[2 * position : 2 * position + 2]
            real = self._real(forwarded, batches)
            loss, gradient = self._classification(forwarded, real.classification)
            matched = self._matched[label] = Matched(gradient, float(loss))
            losses["classification"].append(matched.classification_loss)
            if batches is not None:
                term = self._distillation(forwarded, real.distillation, batches[1])
                matched.distillation, matched.distillation_loss = term.images, float(term.loss)
                losses["distillation"].append(matched.distillation_loss)
                cotangents.append(array(term.cotangent))
        gradients, exact = None, consensus is not None and member.matching.peer_gradient == "exact"
        if not exact:
            self._forwarded.clear()
            with member.clock.phase("second_derivative"):
                gradients = self._gradients(plan, labels)
        found = {name: float(np.mean(values)) for name, values in losses.items()}
        agreed = {f"agreement/{name}": value for name, value in member.agreed.items()}
        record = MemberRecord(found | agreed, member.clock.take())
        return gradients, Cotangents(plan.version, labels, tuple(cotangents)) if exact else None, record

    def pull_back(self, plan: StepPlan, cotangents: Cotangents) -> Gradients:
        """Third exchange: adds the consensus' share of the distillation target, through this member. Frees the graphs."""
        member = self.member
        check_version("a cotangent", cotangents.version, plan.version)
        assert member.agreement is not None
        with member.clock.phase("pull_back"):
            for label, batch in zip(cotangents.labels, cotangents.batches, strict=True):
                forwarded, matched = self._forwarded.pop(label), self._matched[label]
                assert forwarded.features_synthetic is not None and matched.distillation is not None
                cotangent = member.agreement.own(member.position, member.tensor(batch))
                pulled = pull_back(forwarded.features_synthetic, cotangent, forwarded.images)
                matched.distillation = matched.distillation + pulled
            return self._gradients(plan, cotangents.labels)

    # Parts

    def _gradients(self, plan: StepPlan, labels: tuple[int, ...]) -> Gradients:
        """What was matched for a chunk of classes, as a message."""
        matched = [self._matched.pop(label) for label in labels]
        classification_KICHW = torch.stack([part.classification for part in matched])
        shared = [part.distillation for part in matched if part.distillation is not None]
        return Gradients(
            plan.version,
            labels,
            array(classification_KICHW),
            gradient_sizes(classification_KICHW),
            array(torch.stack(shared)) if shared else None,
            tuple(part.classification_loss for part in matched),
            tuple(part.distillation_loss for part in matched) if shared else (),
        )

    def _forward(self, plan: StepPlan, label: int, snapshot: Snapshot) -> Forwarded:
        member = self.member
        images = member.tensor(snapshot.images_KICHW[label]).requires_grad_()
        with member.clock.phase("data"):
            augment = member.batches.augmentation(plan, label)
            real = augment(member.batches.real(plan, label, member.selection))
        # Fused attention has no second derivative.
        unfused = sdpa_kernel(SDPBackend.MATH)
        with member.clock.phase("forward"), unfused, forked(member.key("matching", plan.iteration, plan.step, label)):
            synthetic = augment(member.batches.synthetic(plan, label, images))
            logits_real, features_real = member.observe(real)
            logits_synthetic, features_synthetic = member.observe(synthetic)
        return Forwarded(
            images=images,
            labels_real=torch.full((len(real),), label, device=member.device),
            labels_synthetic=torch.full((len(synthetic),), label, device=member.device),
            logits_real=logits_real,
            logits_synthetic=logits_synthetic,
            features_real=features_real,
            features_synthetic=features_synthetic,
        )

    def _real(self, forwarded: Forwarded, consensus: Sequence[Array] | None) -> RealGradients:
        """The constants of both targets. Frees the graph of the real batch, which is the larger one, before the second
        derivatives take theirs."""
        member = self.member
        with member.clock.phase("real_gradients"):
            classification = classification_gradient(
                forwarded.logits_real, forwarded.labels_real, member.parameters, create_graph=False
            )
        distillation: list[Tensor | None] = []
        if consensus is not None:
            assert member.agreement is not None and forwarded.features_real is not None
            with member.clock.phase("distillation_real"):
                distillation = agreement_gradient(
                    member.agreement,
                    member.position,
                    forwarded.features_real,
                    member.tensor(consensus[0]),
                    member.parameters,
                    create_graph=False,
                )
            forwarded.features_real = forwarded.features_real.detach()
        forwarded.logits_real = forwarded.logits_real.detach()
        return RealGradients(classification, distillation)

    def _classification(self, forwarded: Forwarded, real: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        member = self.member
        distilled = forwarded.features_synthetic is not None
        with member.clock.phase("synthetic_gradients"):
            synthetic = classification_gradient(
                forwarded.logits_synthetic, forwarded.labels_synthetic, member.parameters, create_graph=True
            )
        with member.clock.phase("second_derivative"):
            return classification_target(member.matching.metric, real, synthetic, forwarded.images, keep_graph=distilled)

    def _distillation(self, forwarded: Forwarded, real: Sequence[Tensor | None], consensus: Array) -> DistillationTerm:
        member = self.member
        assert member.agreement is not None and forwarded.features_synthetic is not None
        with member.clock.phase("distillation_synthetic"):
            return distillation_target(
                member.agreement,
                member.position,
                real,
                forwarded.features_synthetic,
                member.tensor(consensus),
                member.parameters,
                forwarded.images,
            )
