"""Training of a member's aligner on real images while the networks are fixed, and a probe of what
the consensus knows.

A batch takes one exchange: ``features``, then ``step`` with the consensus. Without this training
aligners would keep random weights, and mutual distillation would compare random projections.

Shapes: B images of a batch, C x H x W an image; L layers, T tokens, D channels of aligned features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hmdc_ray.data.schema import Split
from hmdc_ray.exchange.messages import Features, MemberRecord, Rows, check_version
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.matching.draws import Draw, placed
from hmdc_ray.matching.member import Member, features_message
from hmdc_ray.matching.probe import linear_probe
from hmdc_ray.matching.ssd import CommonSize
from hmdc_ray.system.transfer import to_host

PROBE_NUMBERS = 2**24
"""Most numbers of a consensus in one probe, which bounds its memory."""

PROBE_IMAGES = 1000
"""Most images that a probe is fitted to, and most that it is tested on."""

PROBE_BATCH = 64
"""Images in one forward of a probe: few, so that it takes less memory than the training of aligners
does."""


def probe_images(size: CommonSize) -> int:
    """Most images of each of the two splits of a probe of features of that size, (L, T, D)."""
    return min(PROBE_IMAGES, PROBE_NUMBERS // (size.layers * size.tokens * size.channels))


class Alignment:
    """Trains a member's aligner before a step: minimises L_MD by Adam (HMDC section 3.3), whatever
    networks train on.

    Args:
        member: the pool member, with an aligner.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        self._features_BLTD: Tensor | None = None
        self._first: list[Tensor] = []
        self._draws: list[Draw] = []
        self._agreed: dict[str, Tensor] = {}

    def features(self, plan: StepPlan, batch: int) -> Features:
        """Aligned features of a real batch, (B, L, T, D), the network fixed; after the last batch,
        the first one's again.

        Args:
            plan: the step before which the aligner is trained.
            batch: number of the batch, from 0 to ``plan.aligner_batches``; this last one only
                measures.
        """
        member = self.member
        assert member.aligner is not None
        with member.clock.phase("aligner_training"):
            if batch == 0:
                self._draws, _ = placed(member.batches.alignment(plan, member.schedule), member.device)
            if batch < plan.aligner_batches:
                taps = self._observe(plan, member.batches.real(self._draws[batch]))
                self._first = taps if batch == 0 else self._first
            else:
                taps, self._first = self._first, []
            member.aligner.train()
            self._features_BLTD = member.aligner(taps)
            member.aligner.eval()
            return features_message(plan.version, [self._features_BLTD.detach()])

    def step(self, plan: StepPlan, batch: int, consensus: Features) -> MemberRecord:
        """Take a step of the aligner on L_MD; the network stays as it is. The batch after the last
        one only measures.

        L_MD of the first batch, before and after the training, is kept in ``member.agreed``.
        """
        check_version("a consensus", consensus.version, plan.version)
        member, features_BLTD, self._features_BLTD = self.member, self._features_BLTD, None
        assert member.aligner is not None and features_BLTD is not None
        with member.clock.phase("aligner_training"):
            loss = member.agreement_loss(features_BLTD, consensus.batches[0])
            if batch == 0:
                self._agreed = {"before": loss.detach()}
            if batch == plan.aligner_batches:
                self._agreed["after"] = loss.detach()
                (agreed,) = to_host([torch.stack(list(self._agreed.values()))])
                member.agreed = dict(zip(self._agreed, agreed.tolist(), strict=True))
            else:
                member.descend(member.aligner_optimiser, list(member.aligner.parameters()), loss)
        return MemberRecord(seconds=member.clock.take())

    def probe_features(self, plan: StepPlan) -> Features:
        """Aligned features, (B, L, T, D), of the images that a probe is fitted to, and of those
        that it is tested on."""
        member = self.member
        assert member.aligner is not None
        images, batches = probe_images(member.aligner.size), []
        with member.clock.phase("probe"):
            for split, rows in member.batches.probe_rows(images):
                starts = range(0, len(rows), PROBE_BATCH)
                batches.append(torch.cat([self.probed(plan, split, rows[start : start + PROBE_BATCH]) for start in starts]))
            return features_message(plan.version, batches)

    def probe(self, plan: StepPlan, consensus: Features) -> MemberRecord:
        """Accuracy of a linear classifier of the consensus, in [0, 1]; no number where the
        consensus is not finite."""
        check_version("a consensus", consensus.version, plan.version)
        member, found = self.member, {}
        with member.clock.phase("probe"):
            labels = [member.batches.dataset.labels(split)[rows] for split, rows in member.batches.probe_rows(PROBE_IMAGES)]
            fitted_ND, tested_MD = (part_BLTD.reshape(len(part_BLTD), -1) for part_BLTD in consensus.batches)
            accuracy = linear_probe(fitted_ND, labels[0][: len(fitted_ND)], tested_MD, labels[1][: len(tested_MD)])
        if accuracy is not None:
            found["agreement/probe_accuracy"] = accuracy
        return MemberRecord(found, member.clock.take())

    def probed(self, plan: StepPlan, split: Split, rows: Rows) -> Tensor:
        """Aligned features of a batch of a probe, (B, L, T, D), without a graph."""
        aligner = self.member.aligner
        assert aligner is not None
        with torch.no_grad():
            aligned_BLTD: Tensor = aligner(self._observe(plan, self.member.batches.reader(rows, split)))
        return aligned_BLTD

    # Parts

    def _observe(self, plan: StepPlan, images_BCHW: Tensor) -> list[Tensor]:
        """Feature of each tap for a batch, as the aligner takes them; without a graph, in
        evaluation mode."""
        member = self.member
        # A fresh network takes its BatchNorm statistics here; others have them from their training.
        # A member that joins or is renewed within an iteration does its first pass without them: a
        # restored one must not take them twice.
        if plan.step == 0:
            member.prepare(plan)
        member.network.eval()
        with torch.no_grad():
            features = member.network.observe(images_BCHW).features
        member.matching_mode()
        return list(features)
