"""A guard against steps in which a target's loss jumps: the target is left out of that class'
update.

Shapes: K classes (or a chunk of them), T targets.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

DECAY = 0.9
"""Weight of the old running mean in the new one."""

DECAY_REFUSED = 0.5
"""The same weight after a refused loss, so that a lasting change is soon admitted."""


class SpikeGuard:
    """Compares the loss of each target and class with its running mean over the iteration so far.

    Args:
        factor: largest ratio of a loss to its running mean, more than 1; None: no guard.
        classes: number of classes.

    Attributes:
        means_KT: running mean of each class and target, float64; NaN before the first loss; T is 0
            without a guard.
    """

    def __init__(self, factor: float | None, classes: int) -> None:
        self.factor = factor
        self.classes = classes
        self.means_KT = torch.empty(classes, 0, dtype=torch.float64)

    def reset(self, targets: int) -> None:
        """Start an iteration with this many targets, without running means: the networks are
        fresh."""
        self.means_KT = torch.full((self.classes, targets if self.factor else 0), torch.nan, dtype=torch.float64)

    def forget(self, target: int) -> None:
        """Drop the running means of a target whose network is a fresh one."""
        self.means_KT[:, target : target + 1] = torch.nan

    def admits(self, labels: Sequence[int], target: int, losses: Sequence[float]) -> Tensor | None:
        """Whether a target may enter the update of each of these classes, bool (K,); None: it may
        in all.

        A refused loss enters the mean as the largest that would have been admitted, with a larger
        weight. A loss that is not finite does not enter it and is not refused here: the balance
        judges its gradient.

        Args:
            labels: the classes.
            target: position of the target.
            losses: loss of the target in each of the classes.
        """
        if self.factor is None:
            return None
        losses_K = torch.tensor(losses, dtype=torch.float64)
        means_K = self.means_KT[list(labels), target]
        known_K = means_K > 0  # neither NaN nor a loss of 0, of which nothing is a multiple
        limits_K = torch.where(known_K, self.factor * means_K, torch.inf)
        admitted_K = ~(losses_K.isfinite() & (losses_K > limits_K))
        decays_K = torch.where(admitted_K, torch.full_like(losses_K, DECAY), DECAY_REFUSED)
        updated_K = torch.where(known_K, decays_K * means_K + (1 - decays_K) * losses_K.minimum(limits_K), losses_K)
        self.means_KT[list(labels), target] = torch.where(losses_K.isfinite(), updated_K, means_K)
        return admitted_K
