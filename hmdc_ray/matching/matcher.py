"""A member's share of the gradient matching in one step, in one to three exchanges with the
parameter server.

With mutual distillation the calls come in the order ``features``, ``match``, ``pull_back``, chunk
by chunk, and the last gives the gradients; where peers' parts are detached, ``match`` is the last,
and without distillation the only one.

Shapes: K classes (of logits all, of gradients those of a chunk), I stored images per class, C x H x
W an image, B images of a batch; L layers, T tokens, D channels of aligned features.
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
    """One class between the exchanges: the leaf, and what the network made of both batches, which
    may differ in size.

    Attributes:
        images_ICHW: stored images of the class, the leaf with respect to which targets are
            differentiated.
        real_labels_B: label of the class for each real image.
        synthetic_labels_B: label of the class for each decoded image.
        real_logits_BK: logits of the real batch, with graph until :class:`RealGradients` are made.
        synthetic_logits_BK: logits of the synthetic batch, with graph.
        real_features_BLTD: aligned features of the real batch, with graph until then; None without
            mutual distillation.
        synthetic_features_BLTD: aligned features of the synthetic batch, with graph; None without
            mutual distillation.
    """

    images_ICHW: Tensor
    real_labels_B: Tensor
    synthetic_labels_B: Tensor
    real_logits_BK: Tensor
    synthetic_logits_BK: Tensor
    real_features_BLTD: Tensor | None
    synthetic_features_BLTD: Tensor | None


@dataclass
class Matched:
    """The targets of one class and their gradients with respect to its images, until those of its
    chunk are sent.

    Attributes:
        classification_ICHW: dL_k/dS.
        classification_loss: value of L_k.
        distillation_ICHW: the member's part of dL_F/dS, without the consensus' share until it is
            pulled back; None without mutual distillation.
        distillation_loss: value of the member's term of L_F.
    """

    classification_ICHW: Tensor
    classification_loss: float
    distillation_ICHW: Tensor | None = None
    distillation_loss: float = 0.0


@dataclass(frozen=True)
class RealGradients:
    """Gradients of a class' real batch with respect to the network, which those of the synthetic
    batch are to match.

    Attributes:
        classification: g, one tensor per parameter, of its shape.
        distillation: h, one tensor per parameter, of its shape, None for one that no tap depends
            on; empty without mutual distillation.
    """

    classification: Sequence[Tensor]
    distillation: Sequence[Tensor | None]


class Matcher:
    """Computes a member's targets on real/synthetic pairs; keeps graphs and gradients of a chunk
    between its exchanges.

    Args:
        member: the pool member, with an aligner if the pool distils.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        self._forwarded: dict[int, Forwarded] = {}
        self._matched: dict[int, Matched] = {}

    def features(self, plan: StepPlan, labels: tuple[int, ...], snapshot: Snapshot) -> Features:
        """First exchange: aligned features of both batches of each class, (B, L, T, D) each. Their
        graphs stay here."""
        member = self.member
        member.prepare(plan)
        check_version("a snapshot", snapshot.version, plan.version)
        features_BLTD: list[Tensor] = []
        for label in labels:
            forwarded = self._forwarded[label] = self._forward(plan, label, snapshot)
            assert forwarded.real_features_BLTD is not None and forwarded.synthetic_features_BLTD is not None
            features_BLTD += [forwarded.real_features_BLTD.detach(), forwarded.synthetic_features_BLTD.detach()]
        with member.clock.phase("forward"):
            return features_message(plan.version, features_BLTD)

    def match(
        self, plan: StepPlan, labels: tuple[int, ...], snapshot: Snapshot, consensus: Features | None
    ) -> tuple[Gradients | None, Cotangents | None, MemberRecord]:
        """Second exchange: targets of both batches, and their gradients with respect to the images
        and the consensus.

        Args:
            plan: the step.
            labels: classes of this chunk.
            snapshot: the images.
            consensus: consensus of the features that this member sent for the chunk, in their
                order; None without mutual distillation.

        Returns:
            The gradients, (K, I, C, H, W), unless :meth:`pull_back` is to complete them; the
            cotangents, (B, L, T, D) for each class, if it is; and numbers.
        """
        member = self.member
        member.prepare(plan)
        check_version("a snapshot", snapshot.version, plan.version)
        cotangents_BLTD = []
        losses: dict[str, list[float]] = defaultdict(list)
        for position, label in enumerate(labels):
            forwarded = self._forward(plan, label, snapshot) if consensus is None else self._forwarded[label]
            consensus_BLTD = None
            if consensus is not None:
                check_version("a consensus", consensus.version, plan.version)
                consensus_BLTD = consensus.batches[2 * position : 2 * position + 2]  # of the real and the synthetic batch
            # In this order, so that each step can free the graphs that none after it needs.
            real = self._real(forwarded, consensus_BLTD)
            loss, gradient_ICHW = self._classification(forwarded, real.classification)
            matched = self._matched[label] = Matched(gradient_ICHW, float(loss))
            losses["classification"].append(matched.classification_loss)
            if consensus_BLTD is not None:
                term = self._distillation(forwarded, real.distillation, consensus_BLTD[1])
                matched.distillation_ICHW, matched.distillation_loss = term.gradient_ICHW, float(term.loss)
                losses["distillation"].append(matched.distillation_loss)
                cotangents_BLTD.append(array(term.cotangent_BLTD))
        gradients, exact = None, consensus is not None and member.matching.peer_gradient == "exact"
        if not exact:
            # Nothing is pulled back: there is no L_F, or ("detached") its way to the images through
            # the consensus is cut.
            self._forwarded.clear()
            with member.clock.phase("second_derivative"):
                gradients = self._gradients(plan, labels)
        found = {name: float(np.mean(values)) for name, values in losses.items()}
        agreed = {f"agreement/{name}": value for name, value in member.agreed.items()}
        record = MemberRecord(found | agreed, member.clock.take())
        return gradients, Cotangents(plan.version, labels, tuple(cotangents_BLTD)) if exact else None, record

    def pull_back(self, plan: StepPlan, cotangents: Cotangents) -> Gradients:
        """Third exchange: adds to dL_F/dS what reaches the consensus through this member. Frees the
        graphs.

        Args:
            plan: the step.
            cotangents: mean over members of the chunk's cotangents, (B, L, T, D) for each class.

        Returns:
            The gradients of the chunk, (K, I, C, H, W).
        """
        member = self.member
        check_version("a cotangent", cotangents.version, plan.version)
        assert member.agreement is not None
        with member.clock.phase("pull_back"):
            for label, mean_BLTD in zip(cotangents.labels, cotangents.batches, strict=True):
                forwarded, matched = self._forwarded.pop(label), self._matched[label]
                assert forwarded.synthetic_features_BLTD is not None and matched.distillation_ICHW is not None
                # dFbar/dF_k is 0 at tokens that this member lacks, although others may have a
                # cotangent there.
                cotangent_BLTD = member.agreement.own(member.position, member.tensor(mean_BLTD))
                pulled_ICHW = pull_back(forwarded.synthetic_features_BLTD, cotangent_BLTD, forwarded.images_ICHW)
                matched.distillation_ICHW = matched.distillation_ICHW + pulled_ICHW
            return self._gradients(plan, cotangents.labels)

    # Parts

    def _gradients(self, plan: StepPlan, labels: tuple[int, ...]) -> Gradients:
        """What was matched for a chunk of classes, as a message."""
        matched = [self._matched.pop(label) for label in labels]
        classification_KICHW = torch.stack([part.classification_ICHW for part in matched])
        distillation_ICHW = [part.distillation_ICHW for part in matched if part.distillation_ICHW is not None]
        return Gradients(
            plan.version,
            labels,
            array(classification_KICHW),
            gradient_sizes(classification_KICHW),
            array(torch.stack(distillation_ICHW)) if distillation_ICHW else None,
            tuple(part.classification_loss for part in matched),
            tuple(part.distillation_loss for part in matched) if distillation_ICHW else (),
        )

    def _forward(self, plan: StepPlan, label: int, snapshot: Snapshot) -> Forwarded:
        """Both batches of a class through the network, with their graphs."""
        member = self.member
        images_ICHW = member.tensor(snapshot.images_KICHW[label]).requires_grad_()
        with member.clock.phase("data"):
            augment = member.batches.augmentation(plan, label)  # Siamese: one draw for both batches (DSA)
            real_BCHW = augment(member.batches.real(plan, label, member.selection))
        # Fused attention has no second derivative.
        unfused = sdpa_kernel(SDPBackend.MATH)
        with member.clock.phase("forward"), unfused, forked(member.key("matching", plan.iteration, plan.step, label)):
            synthetic_BCHW = augment(member.batches.synthetic(plan, label, images_ICHW))
            # Two forwards, so that the real graph can be freed by itself; dropout draws for the
            # real batch first.
            real_logits_BK, real_features_BLTD = member.observe(real_BCHW)
            synthetic_logits_BK, synthetic_features_BLTD = member.observe(synthetic_BCHW)
        return Forwarded(
            images_ICHW=images_ICHW,
            real_labels_B=torch.full((len(real_BCHW),), label, device=member.device),
            synthetic_labels_B=torch.full((len(synthetic_BCHW),), label, device=member.device),
            real_logits_BK=real_logits_BK,
            synthetic_logits_BK=synthetic_logits_BK,
            real_features_BLTD=real_features_BLTD,
            synthetic_features_BLTD=synthetic_features_BLTD,
        )

    def _real(self, forwarded: Forwarded, consensus_BLTD: Sequence[Array] | None) -> RealGradients:
        """g and h of the real batch, the constants of both targets.

        Frees the graph of the real batch, which is the larger one, before the second derivatives
        take theirs.

        Args:
            forwarded: the class.
            consensus_BLTD: consensus of the real batch first; None without mutual distillation.
        """
        member = self.member
        with member.clock.phase("real_gradients"):
            classification = classification_gradient(
                forwarded.real_logits_BK, forwarded.real_labels_B, member.parameters, create_graph=False
            )
        distillation: list[Tensor | None] = []
        if consensus_BLTD is not None:
            assert member.agreement is not None and forwarded.real_features_BLTD is not None
            with member.clock.phase("distillation_real"):
                distillation = agreement_gradient(
                    member.agreement,
                    member.position,
                    forwarded.real_features_BLTD,
                    member.tensor(consensus_BLTD[0]),
                    member.parameters,
                    create_graph=False,
                )
            forwarded.real_features_BLTD = forwarded.real_features_BLTD.detach()
        forwarded.real_logits_BK = forwarded.real_logits_BK.detach()  # the last reference to the batch's graph
        return RealGradients(classification, distillation)

    def _classification(self, forwarded: Forwarded, real: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """L_k, a scalar, and dL_k/dS, (I, C, H, W), from g of the real batch."""
        member = self.member
        distilled = forwarded.synthetic_features_BLTD is not None  # L_F comes afterwards, through the same forward
        with member.clock.phase("synthetic_gradients"):
            synthetic = classification_gradient(
                forwarded.synthetic_logits_BK, forwarded.synthetic_labels_B, member.parameters, create_graph=True
            )
        with member.clock.phase("second_derivative"):
            metric, images_ICHW = member.matching.metric, forwarded.images_ICHW
            return classification_target(metric, real, synthetic, images_ICHW, keep_graph=distilled)

    def _distillation(self, forwarded: Forwarded, real: Sequence[Tensor | None], consensus_BLTD: Array) -> DistillationTerm:
        """The member's term of L_F, from h of the real batch and the consensus of the synthetic
        one."""
        member = self.member
        assert member.agreement is not None and forwarded.synthetic_features_BLTD is not None
        with member.clock.phase("distillation_synthetic"):
            return distillation_target(
                member.agreement,
                member.position,
                real,
                forwarded.synthetic_features_BLTD,
                member.tensor(consensus_BLTD),
                member.parameters,
                forwarded.images_ICHW,
            )
