"""A guard against steps in which a target's loss jumps: the target is left out of the update of that class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

DECAY = 0.9
"""Part of the running mean that stays from one step to the next."""


class SpikeGuard:
    """Compares the loss of each target and class with its running mean over the iteration so far.

    Shapes: K classes (or a chunk of them), T targets.

    Args:
        factor: how many times its running mean a loss may be, more than 1; None: there is no guard.
        classes: number of classes.
    """

    def __init__(self, factor: float | None, classes: int) -> None:
        self.factor = factor
        self.classes = classes
        self.means_KT = torch.empty(classes, 0, dtype=torch.float64)

    def reset(self, targets: int) -> None:
        """Start an iteration with this many targets, of which nothing is known: the networks are fresh."""
        self.means_KT = torch.full((self.classes, targets if self.factor else 0), torch.nan, dtype=torch.float64)

    def admits(self, labels: Sequence[int], losses_TK: Sequence[Sequence[float]]) -> Tensor | None:
        """Which targets may enter the update, (K, T); None: all.

        A loss enters the mean as at most the largest that is admitted, so that a lasting change is soon admitted again; one
        that is not finite does not enter it, and is left to the balance, which judges gradients.
        """
        if self.factor is None:
            return None
        losses_KT = torch.tensor(losses_TK, dtype=torch.float64).T
        means_KT = self.means_KT[list(labels)]
        limits_KT = torch.where(means_KT.isnan(), torch.inf, self.factor * means_KT)
        admitted_KT = ~(losses_KT.isfinite() & (losses_KT > limits_KT))
        counted_KT = torch.minimum(losses_KT, limits_KT)
        updated_KT = torch.where(means_KT.isnan(), losses_KT, DECAY * means_KT + (1 - DECAY) * counted_KT)
        self.means_KT[list(labels)] = torch.where(losses_KT.isfinite(), updated_KT, means_KT)
        return admitted_KT
