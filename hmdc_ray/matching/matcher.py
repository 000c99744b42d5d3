"""A member's share of the gradient matching in one step, in one to three exchanges with the
parameter server.

With mutual distillation the calls come in the order ``features``, ``match``, ``pull_back``, chunk
by chunk, and the last gives the gradients; where peers' parts are detached, ``match`` is the last,
and without distillation the only one.

Shapes: K classes (of logits all, of gradients those of a chunk), I stored images per class, C x H x
W an image, B images of a batch; L layers, T tokens, D channels of aligned features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from hmdc_ray.exchange.messages import Cotangents, Features, Gradients, MemberRecord, Snapshot, check_version
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.exchange.tensors import view
from hmdc_ray.matching.draws import Draw, placed
from hmdc_ray.matching.gradients import (
    DistillationTerm,
    agreement_gradient,
    classification_gradient,
    classification_target,
    distillation_target,
    pull_back,
)
from hmdc_ray.matching.member import Member, features_message
from hmdc_ray.matching.sizes import as_message, measured
from hmdc_ray.seeding import forked
from hmdc_ray.system.transfer import to_host

LOSSES = ("classification", "distillation")
"""Names of the losses in records."""


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

    Losses are scalars on the member's device.

    Attributes:
        classification_ICHW: dL_k/dS.
        classification_loss: value of L_k.
        distillation_ICHW: the member's part of dL_F/dS, without the consensus' share until it is
            pulled back; None without mutual distillation.
        distillation_loss: value of the member's term of L_F; None without mutual distillation.
    """

    classification_ICHW: Tensor
    classification_loss: Tensor
    distillation_ICHW: Tensor | None = None
    distillation_loss: Tensor | None = None

    @property
    def losses(self) -> list[Tensor]:
        """The losses that there are, in the order of :data:`LOSSES`."""
        return [loss for loss in (self.classification_loss, self.distillation_loss) if loss is not None]


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
        for label, images_ICHW, draw in self._arrived(plan, labels, snapshot):
            forwarded = self._forwarded[label] = self._forward(plan, label, images_ICHW, draw)
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
        cotangents_BLTD: list[Tensor] = []
        consensus_BLTD: list[Tensor] = []
        if consensus is None:
            arrived = self._arrived(plan, labels, snapshot)
        else:
            check_version("a consensus", consensus.version, plan.version)
            consensus_BLTD = member.arrived(consensus.batches)
        for position, label in enumerate(labels):
            forwarded = self._forward(plan, *arrived[position]) if consensus is None else self._forwarded[label]
            pair_BLTD = consensus_BLTD[2 * position : 2 * position + 2] or None  # of the real and the synthetic batch
            # In this order, so that each step can free the graphs that none after it needs.
            real = self._real(forwarded, pair_BLTD)
            loss, gradient_ICHW = self._classification(forwarded, real.classification)
            matched = self._matched[label] = Matched(gradient_ICHW, loss)
            if pair_BLTD is not None:
                term = self._distillation(forwarded, real.distillation, pair_BLTD[1])
                matched.distillation_ICHW, matched.distillation_loss = term.gradient_ICHW, term.loss
                cotangents_BLTD.append(term.cotangent_BLTD)
        if consensus is not None and member.matching.peer_gradient == "exact":
            with member.clock.phase("distillation_synthetic"):
                losses_TK, *batches = to_host([_losses(self._matched[label] for label in labels), *cotangents_BLTD])
            cotangents = Cotangents(plan.version, labels, tuple(batch.numpy() for batch in batches))
            return None, cotangents, self._record(losses_TK.tolist())
        # Nothing is pulled back: there is no L_F, or ("detached") its way to the images through the
        # consensus is cut.
        self._forwarded.clear()
        with member.clock.phase("second_derivative"):
            gradients = self._gradients(plan, labels)
        losses = gradients.classification_losses, gradients.distillation_losses
        return gradients, None, self._record([values for values in losses if values])

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
            for label, mean_BLTD in zip(cotangents.labels, member.arrived(cotangents.batches), strict=True):
                forwarded, matched = self._forwarded.pop(label), self._matched[label]
                assert forwarded.synthetic_features_BLTD is not None and matched.distillation_ICHW is not None
                # dFbar/dF_k is 0 at tokens that this member lacks, although others may have a
                # cotangent there.
                cotangent_BLTD = member.agreement.own(member.position, member.tensor(mean_BLTD))
                pulled_ICHW = pull_back(forwarded.synthetic_features_BLTD, cotangent_BLTD, forwarded.images_ICHW)
                matched.distillation_ICHW = matched.distillation_ICHW + pulled_ICHW
            return self._gradients(plan, cotangents.labels)

    # Parts

    def _arrived(self, plan: StepPlan, labels: tuple[int, ...], snapshot: Snapshot) -> list[tuple[int, Tensor, Draw]]:
        """Each class of a chunk with its stored images, (I, C, H, W), and what is drawn for it, all
        on the device in one copy."""
        member = self.member
        with member.clock.phase("data"):
            images_ICHW = [view(snapshot.images_KICHW[label]) for label in labels]
            stored = len(images_ICHW[0])
            draws = [member.batches.pair(plan, label, member.selection, stored) for label in labels]
            draws, images_ICHW = placed(draws, member.device, images_ICHW)
            return list(zip(labels, images_ICHW, draws, strict=True))

    def _record(self, losses_TK: Sequence[Sequence[float]]) -> MemberRecord:
        """The numbers of a call, from the losses of its classes in the order of :data:`LOSSES`."""
        found = {name: float(np.mean(values)) for name, values in zip(LOSSES, losses_TK, strict=False)}
        agreed = {f"agreement/{name}": value for name, value in self.member.agreed.items()}
        return MemberRecord(found | agreed, self.member.clock.take())

    def _gradients(self, plan: StepPlan, labels: tuple[int, ...]) -> Gradients:
        """What was matched for a chunk of classes, as a message."""
        matched = [self._matched.pop(label) for label in labels]
        classification_KICHW = torch.stack([part.classification_ICHW for part in matched])
        distillation_ICHW = [part.distillation_ICHW for part in matched if part.distillation_ICHW is not None]
        distillation = [torch.stack(distillation_ICHW)] if distillation_ICHW else []
        parts = [_losses(matched), measured(classification_KICHW), classification_KICHW, *distillation]
        losses_TK, sizes_3K, classification_KICHW, *distillation = to_host(parts)
        losses = dict(zip(LOSSES, losses_TK.tolist(), strict=False))
        return Gradients(
            plan.version,
            labels,
            classification_KICHW.numpy(),
            as_message(sizes_3K),
            distillation[0].numpy() if distillation else None,
            tuple(losses["classification"]),
            tuple(losses.get("distillation", ())),
        )

    def _forward(self, plan: StepPlan, label: int, stored_ICHW: Tensor, draw: Draw) -> Forwarded:
        """Both batches of a class through the network, with their graphs."""
        member = self.member
        images_ICHW = member.tensor(stored_ICHW).requires_grad_()
        with member.clock.phase("data"):
            real_BCHW = member.batches.real(draw)
        # Fused attention has no second derivative.
        unfused = sdpa_kernel(SDPBackend.MATH)
        with member.clock.phase("forward"), unfused, forked(member.key("matching", plan.iteration, plan.step, label)):
            synthetic_BCHW = member.batches.synthetic(draw, images_ICHW)
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

    def _real(self, forwarded: Forwarded, consensus_BLTD: Sequence[Tensor] | None) -> RealGradients:
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

    def _distillation(self, forwarded: Forwarded, real: Sequence[Tensor | None], consensus_BLTD: Tensor) -> DistillationTerm:
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


def _losses(matched: Iterable[Matched]) -> Tensor:
    """Losses of classes, (T, K), a row for each of :data:`LOSSES` that there is."""
    return torch.stack([torch.stack(part.losses) for part in matched], dim=1)
