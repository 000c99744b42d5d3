"""Training of a member's aligner on real images while the networks are fixed, and a probe of what the consensus knows.

A batch takes one exchange: ``features``, then ``step`` with the consensus. Without it aligners would keep random weights, and
mutual distillation would compare random projections. B images of a batch, L layers, T tokens, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hmdc_ray.data.schema import Split
from hmdc_ray.exchange.messages import Features, MemberRecord, Rows, check_version
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.matching.member import Member, features_message
from hmdc_ray.matching.probe import linear_probe
from hmdc_ray.matching.ssd import CommonSize

PROBE_NUMBERS = 2**24
"""Most numbers of a consensus in one probe, which bounds its memory."""

PROBE_IMAGES = 1000
"""Most images that a probe is fitted to, and that it is tried on."""

PROBE_BATCH = 64
"""Images in one forward of a probe: few, so that it takes less memory than the training of aligners does."""


def probe_images(size: CommonSize) -> int:
    """Most images of each of the two splits of a probe of features of that size, (L, T, D)."""
    return min(PROBE_IMAGES, PROBE_NUMBERS // (size.layers * size.tokens * size.channels))


class Alignment:
    """Trains a member's aligner before a step, whatever networks are trained on: minimise L_MD by Adam (HMDC section 3.3)."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self._features: Tensor | None = None
        self._first: list[Tensor] = []

    def features(self, plan: StepPlan, batch: int) -> Features:
        """Aligned features of a real batch with the network fixed; after the last batch, of the first one again.

        Args:
            plan: the step that the aligner is trained for.
            batch: number of the batch, from 0 to ``plan.aligner_batches``, the latter to measure.
        """
        member = self.member
        assert member.aligner is not None
        with member.clock.phase("aligner_training"):
            if batch < plan.aligner_batches:
                taps = self._observe(plan, member.batches.alignment(plan, batch, member.schedule))
                self._first = taps if batch == 0 else self._first
            else:
                taps, self._first = self._first, []
            member.aligner.train()
            self._features = member.aligner(taps)
            member.aligner.eval()
            return features_message(plan.version, [self._features.detach()])

    def step(self, plan: StepPlan, batch: int, consensus: Features) -> MemberRecord:
        """Update the aligner along L_MD; the network stays as it is. The batch after the last one only measures.

        L_MD of the first batch, before and after, is kept in ``member.agreed``.
        """
        check_version("a consensus", consensus.version, plan.version)
        member, features, self._features = self.member, self._features, None
        assert member.aligner is not None and features is not None
        with member.clock.phase("aligner_training"):
            loss = member.agreement_loss(features, consensus.batches[0])
            if batch == 0:
                member.agreed = {"before": float(loss.detach())}
            if batch == plan.aligner_batches:
                member.agreed["after"] = float(loss.detach())
            else:
                member.descend(member.aligner_optimiser, list(member.aligner.parameters()), loss)
        return MemberRecord(seconds=member.clock.take())

    def probe_features(self, plan: StepPlan) -> Features:
        """Aligned features of the images that a probe is fitted to, and of those that it is tried on."""
        member = self.member
        assert member.aligner is not None
        images, batches = probe_images(member.aligner.size), []
        with member.clock.phase("probe"):
            for split, rows in member.batches.probe_rows(images):
                starts = range(0, len(rows), PROBE_BATCH)
                batches.append(torch.cat([self.probed(plan, split, rows[start : start + PROBE_BATCH]) for start in starts]))
            return features_message(plan.version, batches)

    def probe(self, plan: StepPlan, consensus: Features) -> MemberRecord:
        """How often a linear classifier of the consensus is right, in [0, 1]; nothing where the consensus is not finite."""
        check_version("a consensus", consensus.version, plan.version)
        member, found = self.member, {}
        with member.clock.phase("probe"):
            labels = [member.batches.labels(rows, split).numpy() for split, rows in member.batches.probe_rows(PROBE_IMAGES)]
            flat = [part.reshape(len(part), -1) for part in consensus.batches]
            accuracy = linear_probe(flat[0], labels[0][: len(flat[0])], flat[1], labels[1][: len(flat[1])])
        if accuracy is not None:
            found["agreement/probe_accuracy"] = accuracy
        return MemberRecord(found, member.clock.take())

    def probed(self, plan: StepPlan, split: Split, rows: Rows) -> Tensor:
        """Aligned features of a batch of a probe, (B, L, T, D), without a graph."""
        aligner = self.member.aligner
        assert aligner is not None
        with torch.no_grad():
            aligned: Tensor = aligner(self._observe(plan, self.member.batches.rows(rows, split)))
        return aligned

    # Parts

    def _observe(self, plan: StepPlan, images_BCHW: Tensor) -> list[Tensor]:
        """The network's taps, without a graph, in evaluation mode."""
        member = self.member
        # A fresh network takes statistics for BatchNorm, others have them from their training. One that joins or is renewed
        # within an iteration goes without in its first pass: a restored one must not take them twice.
        if plan.step == 0:
            member.prepare(plan)
        member.network.eval()
        with torch.no_grad():
            features = member.network.observe(images_BCHW).features
        member.matching_mode()
        return list(features)
