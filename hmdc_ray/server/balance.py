"""The Gradient Balance Module (HMDC section 3.4): targets of very different magnitude in one image update.

Shapes: K classes (or a chunk of them), T targets: the members drawn, then the distillation target if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Mode = Literal["none", "sum", "max", "ema", "last"]

FLOOR = 1e-6


@dataclass(frozen=True)
class Balanced:
    """The outcome for one chunk of classes.

    Attributes:
        direction: update direction G, (K, ...) as the gradients; 0 for a class in which no target is usable.
        weights_KT: w of each target, 0 where it was left out.
        shares_KT: part of each target in the update, by absolute sum, in [0, 1]; a row sums to 1, or to 0 if empty.
        magnitudes_KT: largest absolute entry of each target's gradient; may be 0, infinite or NaN.
        norms_KT: Euclidean norm of each target's gradient; may be 0, infinite or NaN.
        entered_KT: whether the target is in the update: its gradient is finite and not zero, it was admitted, and its
            history above the floor.
    """

    direction: Tensor
    weights_KT: Tensor
    shares_KT: Tensor
    magnitudes_KT: Tensor
    norms_KT: Tensor
    entered_KT: Tensor


class GradientBalance:
    """Weights targets by the history of their gradients' magnitudes, class by class.

    Args:
        mode: how the history A is updated with a magnitude a. ``sum``: A += a (HMDC, released code); ``max``: the larger
            (HMDC's wording); ``ema``: first a, then the mean of A and a; ``last``: a; ``none``: no balancing, all w = 1.
        period: steps between two updates, q.
        classes: number of classes.
    """

    def __init__(self, mode: Mode, period: int, classes: int) -> None:
        self.mode = mode
        self.period = period
        self.classes = classes
        self.history_KT = torch.empty(classes, 0, dtype=torch.float64)

    def reset(self, targets: int) -> None:
        """Start an iteration with this many targets: every history at its floor."""
        self.history_KT = torch.full((self.classes, targets), FLOOR, dtype=torch.float64)

    def balance(
        self,
        step: int,
        labels: Sequence[int],
        gradients: Sequence[Tensor],
        loss_weights: Sequence[float],
        reference: int,
        admitted_KT: Tensor | None = None,
    ) -> Balanced:
        """Update the history and combine the targets' gradients, in the order given.

        G = 1 / w_ref * sum_t lambda_t w_t G_t with w_t = min_s A_s / A_t. Only ratios of w matter; ``reference`` fixes
        the scale, so that one target, or no balancing, gives plain DC. A target that is zero or not finite in a class is
        left out of min and sum there, and one still at the floor is updated at its first usable step.

        Args:
            step: step within the iteration.
            labels: the classes of this chunk.
            gradients: one (K, I, C, H, W) per target.
            loss_weights: lambda of each target.
            reference: position of the main member; if it does not enter, the first target that does is used.
            admitted_KT: False where a target is to be left out; None: nowhere.
        """
        stacked_TKP = torch.stack([gradient.flatten(1) for gradient in gradients])
        magnitudes_KT = stacked_TKP.abs().amax(dim=2).T.double()
        usable_KT = magnitudes_KT.isfinite() & (magnitudes_KT > 0)
        if admitted_KT is not None:
            usable_KT &= admitted_KT
        self._update(step, torch.tensor(labels), magnitudes_KT, usable_KT)
        weights_KT = self._weights(torch.tensor(labels), usable_KT, reference)
        factors_KT = weights_KT * torch.tensor(loss_weights, dtype=torch.float64)
        direction = torch.zeros_like(gradients[0])
        sizes = []
        for target, gradient in enumerate(gradients):
            factor = factors_KT[:, target].to(gradient).view(-1, *[1] * (gradient.dim() - 1))
            part = torch.where(factor > 0, gradient * factor, 0.0)
            direction = direction + part
            sizes.append(part.flatten(1).abs().sum(dim=1).double())
        sizes_KT = torch.stack(sizes, dim=1)
        shares_KT = sizes_KT / sizes_KT.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        norms_KT = stacked_TKP.double().norm(dim=2).T
        return Balanced(direction, weights_KT, shares_KT, magnitudes_KT, norms_KT, weights_KT > 0)

    def _update(self, step: int, labels: Tensor, magnitudes_KT: Tensor, usable_KT: Tensor) -> None:
        history_KT = self.history_KT[labels]
        at_floor_KT = history_KT <= FLOOR
        due_KT = usable_KT & (at_floor_KT | (step % self.period == 0))
        updated_KT = {
            "none": history_KT,
            "sum": history_KT + magnitudes_KT,
            "max": torch.maximum(history_KT, magnitudes_KT),
            "ema": torch.where(at_floor_KT, magnitudes_KT, 0.5 * history_KT + 0.5 * magnitudes_KT),
            "last": magnitudes_KT,
        }[self.mode]
        self.history_KT[labels] = torch.where(due_KT, updated_KT.clamp(min=FLOOR), history_KT)

    def _weights(self, labels: Tensor, usable_KT: Tensor, reference: int) -> Tensor:
        if self.mode == "none":
            return usable_KT.double()
        history_KT = self.history_KT[labels]
        enters_KT = usable_KT & (history_KT > FLOOR)
        least_K1 = torch.where(enters_KT, history_KT, torch.inf).amin(dim=1, keepdim=True)
        weights_KT = torch.where(enters_KT, least_K1 / history_KT, 0.0)
        first_K = enters_KT.int().argmax(dim=1)
        reference_K = torch.where(enters_KT[:, reference], reference, first_K)
        scale_K1 = weights_KT.gather(1, reference_K[:, None])
        return torch.where(enters_KT, weights_KT / scale_K1, 0.0)
