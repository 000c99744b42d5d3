"""Mutual Distillation (HMDC section 3.3) for any number of members, in the form that needs the
consensus, not peers.

With F_i the aligned features of member i, n the number of members that have a token, and Fbar their
mean,

    L_MD = mean over kept tokens of 2 / (n - 1) * sum_i (F_i - Fbar)^2,

which for two members is HMDC's mean squared difference, and for more the mean over pairs. Tokens
that fewer than two members have are dropped. For its gradient with respect to F_i, Fbar is a
constant: the derivative through it vanishes, because the differences sum to 0.

Shapes: N members; B images, L layers, T tokens, D channels, as in :mod:`hmdc_ray.matching.ssd`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hmdc_ray.exchange.tensors import add_all, zeros
from hmdc_ray.system.transfer import to_device


class Agreement:
    """Who has which token, for the members drawn; turns features into consensus and loss.

    Args:
        masks: one bool (L, T) per member, from :func:`hmdc_ray.matching.ssd.token_mask`.
        device: device of the features; None: the CPU.

    Attributes:
        masks_NLT: tokens of each member.
        whole_N: whether a member has all tokens.
        counts_LT: number of members that have a token, n.
        kept_LT: whether at least two members have it.
        kept: number of tokens that at least two members have.
    """

    def __init__(self, masks: Sequence[Tensor], device: torch.device | None = None) -> None:
        masks_NLT = torch.stack(list(masks))
        self.whole_N = masks_NLT.flatten(1).all(dim=1).tolist()
        self.kept = int((masks_NLT.sum(dim=0) >= 2).sum())
        (self.masks_NLT,) = to_device([masks_NLT], device or torch.device("cpu"))
        self.counts_LT = self.masks_NLT.sum(dim=0)
        self.kept_LT = self.counts_LT >= 2

    def _scale(self, member: int, like: Tensor) -> Tensor:
        """2 / ((n - 1) * number of elements in the mean), 0 where the member has no kept token; (L,
        T, 1).

        Args:
            member: position of the member.
            like: features (B, L, T, D), for their size, number format and device.
        """
        elements = like.shape[0] * self.kept * like.shape[-1]
        scale_LT = 2.0 / ((self.counts_LT - 1).clamp(min=1).double() * elements)
        scale_LT = torch.where(self.kept_LT & self.masks_NLT[member], scale_LT, 0.0)
        return scale_LT[:, :, None].to(like)

    def mean(self, total_BLTD: Tensor) -> Tensor:
        """Fbar, (B, L, T, D), from the sum over members; dropped tokens are 0.

        Also turns the summed cotangents of Fbar into each member's: dFbar/dF_i is 1 / n at the
        tokens that i has.
        """
        # n and not N: a token is the mean of those that have it. Division by infinity drops one
        # without a branch.
        divisor_LT = torch.where(self.kept_LT, self.counts_LT.double(), torch.inf)
        return total_BLTD / divisor_LT[:, :, None].to(total_BLTD)

    def loss(self, member: int, features_BLTD: Tensor, consensus_BLTD: Tensor) -> Tensor:
        """The member's term of L_MD, a scalar; the terms of all members sum to it. Differentiable
        in both arguments."""
        return (self._scale(member, features_BLTD) * (features_BLTD - consensus_BLTD).square()).sum()

    def own(self, member: int, features_BLTD: Tensor) -> Tensor:
        """Features, or cotangents, (B, L, T, D), with 0 at tokens that the member lacks; the tensor
        itself if it has all."""
        if self.whole_N[member]:
            return features_BLTD
        return features_BLTD * self.masks_NLT[member][:, :, None].to(features_BLTD)


class RunningConsensus:
    """Fbar of a batch, from features that are added one member after the other, so that never all
    are in memory.

    Features that are not finite are left out, so that they do not spoil the others; if no member's
    are, Fbar is NaN.

    Args:
        agreement: tokens of the members drawn.
    """

    def __init__(self, agreement: Agreement) -> None:
        self._agreement = agreement
        self._total: Tensor | None = None
        self._finite: list[int] = []
        self._members = 0

    def add(self, features: Sequence[Tensor], finite: Sequence[bool]) -> None:
        """Add the next members' features, which are not needed afterwards.

        Args:
            features: aligned features of each of these members, (B, L, T, D).
            finite: one flag per member, True where all its features are finite; see
                :func:`hmdc_ray.exchange.tensors.all_finite`.
        """
        if self._total is None:
            self._total = zeros(features[0])
        members = range(self._members, self._members + len(features))
        usable = [member for member, is_finite in zip(members, finite, strict=True) if is_finite]
        add_all(self._total, [self._agreement.own(member, features[member - self._members]) for member in usable])
        self._finite += usable
        self._members += len(features)

    def mean(self) -> Tensor:
        """Fbar of all that were added, (B, L, T, D)."""
        agreement, total = self._agreement, self._total
        assert total is not None, "no member's features"
        if len(self._finite) == self._members:
            return agreement.mean(total)
        if not self._finite:
            return torch.full_like(total, torch.nan)
        # The mean is over the members with finite features only; which tokens are kept does not
        # change.
        had_LT = agreement.masks_NLT[self._finite].sum(dim=0).clamp(min=1).double()
        counts_LT = torch.where(agreement.kept_LT, had_LT, torch.inf)
        return total / counts_LT[:, :, None].to(total)
