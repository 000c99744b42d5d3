"""The Gradient Balance Module (HMDC section 3.4): targets of very different magnitude in one image update.

In a pool whose members are drawn (model pool, Zhou et al., arXiv 2402.13007) a history of one iteration balances nothing: a
single target has weight 1. There histories may last for the run, so that a member's step has the size that the main member's
would have.

Shapes: K classes (or a chunk of them), T targets: the members drawn, then the distillation target if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from hmdc_ray.exchange.messages import GradientSizes
from hmdc_ray.matching.sizes import gradient_sizes

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
        lasting: number of targets whose histories last for the whole run; None: they last for an iteration.
        main: column, among histories that last, of the main member, whose magnitude the update has, drawn or not.
    """

    def __init__(self, mode: Mode, period: int, classes: int, lasting: int | None = None, main: int = 0) -> None:
        self.mode = mode
        self.period = period
        self.classes = classes
        self.lasts = lasting is not None
        self.main = main
        self.history_KT = torch.full((classes, lasting or 0), FLOOR, dtype=torch.float64)
        self._columns: tuple[int, ...] = ()
        self._chunk: _Chunk | None = None

    def begin(self, columns: Sequence[int]) -> None:
        """Start an iteration.

        Args:
            columns: each target's column among the histories that last; of others only the number counts, for they start at
                their floor.
        """
        self._columns = tuple(columns) if self.lasts else tuple(range(len(columns)))
        if not self.lasts:
            self.history_KT = torch.full((self.classes, len(columns)), FLOOR, dtype=torch.float64)

    def balance(
        self, step: int, labels: Sequence[int], gradients: Sequence[Tensor], loss_weights: Sequence[float], reference: int
    ) -> Balanced:
        """Update the history and combine the targets' gradients, in the order given.

        Does what :meth:`open`, :meth:`weigh` of every target, :meth:`add` and :meth:`close` do, one after the other.

        G = 1 / w_ref * sum_t lambda_t w_t G_t with w_t = min_s A_s / A_t. Only ratios of w matter; ``reference`` fixes
        the scale, so that one target, or no balancing, gives plain DC. A target that is zero or not finite in a class is
        left out of min and sum there, and one still at the floor is updated at its first usable step.

        Args:
            step: step within the iteration.
            labels: the classes of this chunk.
            gradients: one (K, I, C, H, W) per target.
            loss_weights: lambda of each target.
            reference: position of the main member; if it does not enter, the first target that does is used.
        """
        self.open(step, labels)
        weighted = zip(gradients, loss_weights, strict=True)
        self.add(gradients, [self.weigh(gradient_sizes(gradient), loss_weight) for gradient, loss_weight in weighted])
        return self.close(reference)

    def open(self, step: int, labels: Sequence[int]) -> None:
        """Begin a chunk of classes; what another one has left unfinished is forgotten."""
        self._chunk = _Chunk(step, torch.tensor(labels), torch.full((len(labels),), torch.nan, dtype=torch.float64))

    def weigh(self, sizes: GradientSizes, loss_weight: float, admitted_K: Tensor | None = None) -> Tensor:
        """Take the next target into the balance.

        Until all are known, weights are relative to the first target that enters in a class.

        Args:
            sizes: of its gradient.
            loss_weight: its lambda.
            admitted_K: False where it is to be left out; None: nowhere.

        Returns:
            By what its gradient is to be multiplied in each class, (K,) in float64; 0 where it is left out.
        """
        chunk = self._chunk
        assert chunk is not None, "no chunk is open"
        # Copies: the message with the sizes, which may lie in shared memory, is not needed afterwards.
        magnitudes_K, sums_K, norms_K = (torch.tensor(size_K) for size_K in (sizes.magnitudes_K, sizes.sums_K, sizes.norms_K))
        usable_K = magnitudes_K.isfinite() & (magnitudes_K > 0)
        if admitted_K is not None:
            usable_K &= admitted_K
        history_K = self._updated(chunk.step, chunk.labels, len(chunk.weights), magnitudes_K, usable_K)
        if self.mode == "none":
            weights_K = usable_K.double()
        else:
            enters_K = usable_K & (history_K > FLOOR)
            chunk.base_K = torch.where(chunk.base_K.isnan() & enters_K, history_K, chunk.base_K)
            weights_K = torch.where(enters_K, chunk.base_K / history_K, 0.0)
        factors_K = weights_K * loss_weight
        chunk.weights.append(weights_K)
        chunk.magnitudes.append(magnitudes_K)
        chunk.sums.append(torch.where(factors_K > 0, sums_K * factors_K, 0.0))
        chunk.norms.append(norms_K)
        return factors_K

    def add(self, gradients: Sequence[Tensor], factors: Sequence[Tensor]) -> None:
        """Add the gradients (K, I, C, H, W) of targets that were weighed, which are not needed afterwards.

        Args:
            gradients: one for each target.
            factors: what :meth:`weigh` gave for it.
        """
        chunk = self._chunk
        assert chunk is not None, "no chunk is open"
        if chunk.direction is None:
            chunk.direction = torch.zeros_like(gradients[0])
        # In the type of the gradients a factor may be infinite, which a number that is too large for the type may not.
        factors_KN = torch.stack(list(factors), dim=1).to(gradients[0]).tolist()
        # Class by class, so that a sum stays in the processor's cache.
        for total, parts, factors_N in zip(chunk.direction, zip(*gradients, strict=True), factors_KN, strict=True):
            for part, factor in zip(parts, factors_N, strict=True):
                if factor > 0:  # else the part may not be finite
                    total.add_(part, alpha=factor)

    def close(self, reference: int) -> Balanced:
        """The chunk's outcome, with the scale of the target at ``reference``, or else of the first that entered.

        Where histories last, that of the main member sets the scale as soon as it has one, whoever is drawn.
        """
        chunk, self._chunk = self._chunk, None
        assert chunk is not None and chunk.direction is not None, "a chunk without targets"
        weights_KT, sums_KT = torch.stack(chunk.weights, dim=1), torch.stack(chunk.sums, dim=1)
        entered_KT = weights_KT > 0
        scale_K = torch.where(entered_KT[:, reference], weights_KT[:, reference], 1.0)  # that of the first is 1
        if self.lasts and self.mode != "none":
            main_K = self.history_KT[chunk.labels, self.main]
            # w_main = base / A_main: with it G = sum_t lambda_t (A_main / A_t) G_t.
            scale_K = torch.where((main_K > FLOOR) & ~chunk.base_K.isnan(), chunk.base_K / main_K, scale_K)
        divisor_K = scale_K.to(chunk.direction)
        divisor_K = torch.where(divisor_K.isfinite(), divisor_K, torch.nan)  # not 0, as if nothing were to be done
        direction = chunk.direction / divisor_K.view(-1, *[1] * (chunk.direction.dim() - 1))
        return Balanced(
            direction=direction,
            weights_KT=weights_KT / scale_K[:, None],
            shares_KT=sums_KT / sums_KT.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny),
            magnitudes_KT=torch.stack(chunk.magnitudes, dim=1),
            norms_KT=torch.stack(chunk.norms, dim=1),
            entered_KT=entered_KT,
        )

    def _updated(self, step: int, labels: Tensor, target: int, magnitudes_K: Tensor, usable_K: Tensor) -> Tensor:
        """A of a target after this step, which is kept."""
        column = self._columns[target]
        history_K = self.history_KT[labels, column]
        at_floor_K = history_K <= FLOOR
        due_K = usable_K & (at_floor_K | (step % self.period == 0))
        updated_K = {
            "none": history_K,
            "sum": history_K + magnitudes_K,
            "max": torch.maximum(history_K, magnitudes_K),
            "ema": torch.where(at_floor_K, magnitudes_K, 0.5 * history_K + 0.5 * magnitudes_K),
            "last": magnitudes_K,
        }[self.mode]
        self.history_KT[labels, column] = torch.where(due_K, updated_K.clamp(min=FLOOR), history_K)
        return self.history_KT[labels, column]


@dataclass
class _Chunk:
    """A chunk of classes whose targets are being added.

    Attributes:
        step: within the iteration.
        labels: the classes.
        base_K: history of the first target that entered in each class; NaN before.
        direction: sum of the weighted gradients.
        weights, magnitudes, sums, norms: one (K,) for each target so far.
    """

    step: int
    labels: Tensor
    base_K: Tensor
    direction: Tensor | None = None
    weights: list[Tensor] = field(default_factory=list)
    magnitudes: list[Tensor] = field(default_factory=list)
    sums: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
