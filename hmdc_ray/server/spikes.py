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

    def admits(self, labels: Sequence[int], target: int, losses: Sequence[float]) -> Tensor | None:
        """In which of these classes a target may enter the update, bool (K,); None: in all.

        A loss enters the mean as at most the largest that is admitted, so that a lasting change is soon admitted again; one
        that is not finite does not enter it, and is left to the balance, which judges gradients.

        Args:
            labels: the classes.
            target: position of the target.
            losses: its value in each of the classes.
        """
        if self.factor is None:
            return None
        losses_K = torch.tensor(losses, dtype=torch.float64)
        means_K = self.means_KT[list(labels), target]
        limits_K = torch.where(means_K.isnan(), torch.inf, self.factor * means_K)
        admitted_K = ~(losses_K.isfinite() & (losses_K > limits_K))
        counted_K = torch.minimum(losses_K, limits_K)
        updated_K = torch.where(means_K.isnan(), losses_K, DECAY * means_K + (1 - DECAY) * counted_K)
        self.means_KT[list(labels), target] = torch.where(losses_K.isfinite(), updated_K, means_K)
        return admitted_K
