"""The Gradient Balance Module (HMDC section 3.4): targets of very different magnitude in one image
update.

In a pool from which one member is drawn at a time (model pool, Zhou et al., arXiv 2402.13007) a
history of one iteration balances nothing: a single target has weight 1. There histories may last
for the run, so that a member's step has the size that the main member's would have.

Shapes: K classes (or a chunk of them), I stored images per class, C x H x W an image; T targets:
the members drawn, then the distillation target if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from hmdc_ray.exchange.messages import GradientSizes

Mode = Literal["none", "sum", "max", "ema", "last"]

FLOOR = 1e-6
"""History of a target before its first update, and the least that it can be."""


@dataclass(frozen=True)
class Balanced:
    """The outcome for one chunk of classes.

    Attributes:
        direction_KICHW: update direction G; 0 for a class in which no target is usable.
        weights_KT: w of each target, 0 where it was left out.
        shares_KT: part of each target in the update, by absolute sum, in [0, 1]; a row sums to 1,
            or to 0 if empty.
        magnitudes_KT: largest absolute entry of each target's gradient; may be 0, infinite or NaN.
        norms_KT: Euclidean norm of each target's gradient; may be 0, infinite or NaN.
        entered_KT: whether the target is in the update: its gradient is finite and not zero, it was
            admitted, and its history above the floor.
    """

    direction_KICHW: Tensor
    weights_KT: Tensor
    shares_KT: Tensor
    magnitudes_KT: Tensor
    norms_KT: Tensor
    entered_KT: Tensor


class GradientBalance:
    """Weights targets by the history of their gradients' magnitudes, class by class.

    G = 1 / w_ref * sum_t lambda_t w_t G_t with w_t = min_s A_s / A_t. Only ratios of w matter; the
    reference fixes the scale, so that one target, or no balancing, gives plain DC. A target that is
    zero or not finite in a class is left out of min and sum there, and one still at the floor is
    updated at its first usable step.

    For a chunk of classes: :meth:`open`, :meth:`weigh` for every target in order, :meth:`add`, and
    :meth:`close`.

    Args:
        mode: update of the history A by a magnitude a. ``sum``: A += a (HMDC, released code);
            ``max``: the larger (HMDC's wording); ``ema``: first a, then the mean of A and a;
            ``last``: a; ``none``: all w = 1.
        period: steps between two updates, q.
        classes: number of classes.
        lasting: number of targets whose histories last for the whole run; None: they last for an
            iteration.
        main: column of the main member among histories that last; its magnitude scales the update,
            drawn or not.

    Attributes:
        history_KT: history A of each class and target, in float64, at least :data:`FLOOR`.
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
            columns: each target's column among the histories that last; if they do not last, only
                the number of targets counts, because all start at the floor.
        """
        self._columns = tuple(columns) if self.lasts else tuple(range(len(columns)))
        if not self.lasts:
            self.history_KT = torch.full((self.classes, len(columns)), FLOOR, dtype=torch.float64)

    def open(self, step: int, labels: Sequence[int]) -> None:
        """Begin a chunk of classes; an unfinished one is dropped."""
        self._chunk = _Chunk(step, torch.tensor(labels), torch.full((len(labels),), torch.nan, dtype=torch.float64))

    def weigh(self, sizes: GradientSizes, loss_weight: float, admitted_K: Tensor | None = None) -> Tensor:
        """Weigh the next target by its history, which is updated.

        Until all are known, weights are relative to the first target that enters in a class.

        Args:
            sizes: sizes of the target's gradient.
            loss_weight: lambda of the target.
            admitted_K: False in the classes in which the target is to be left out; None: admitted
                in all.

        Returns:
            Factor of the target's gradient in each class, (K,) in float64; 0 where the target is
            left out.
        """
        chunk = self._chunk
        assert chunk is not None, "no chunk is open"
        # Copies: the message with the sizes, perhaps in shared memory, is not needed afterwards.
        magnitudes_K, sums_K, norms_K = (torch.tensor(size_K) for size_K in (sizes.magnitudes_K, sizes.sums_K, sizes.norms_K))
        usable_K = magnitudes_K.isfinite() & (magnitudes_K > 0)
        if admitted_K is not None:
            usable_K &= admitted_K
        history_K = self._updated(chunk.step, chunk.labels, len(chunk.weights), magnitudes_K, usable_K)
        if self.mode == "none":
            weights_K = usable_K.double()
        else:
            # w_t = min_s A_s / A_t (HMDC section 3.4) up to a scale: here base / A_t, for the
            # minimum is not known before all targets are. Only ratios of w matter; close() sets the
            # scale.
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
        """Add gradients of targets that were weighed to the direction; they are not needed
        afterwards.

        Args:
            gradients: gradient of each of these targets, (K, I, C, H, W).
            factors: factors of each of them, (K,), as :meth:`weigh` returned them.
        """
        chunk = self._chunk
        assert chunk is not None, "no chunk is open"
        if chunk.direction_KICHW is None:
            chunk.direction_KICHW = torch.zeros_like(gradients[0])
        # Converted first: too large a factor becomes infinite in the gradients' type; as it is,
        # torch would refuse it.
        factors_KT = torch.stack(list(factors), dim=1).to(gradients[0]).tolist()
        # sum_t lambda_t w_t G_t, in the order of targets; class by class, so that a sum stays in
        # the processor's cache.
        by_class = zip(chunk.direction_KICHW, zip(*gradients, strict=True), factors_KT, strict=True)
        for total_ICHW, parts_ICHW, factors_T in by_class:
            for part_ICHW, factor in zip(parts_ICHW, factors_T, strict=True):
                if factor > 0:  # not 0 * part: a target that is left out may not be finite
                    total_ICHW.add_(part_ICHW, alpha=factor)

    def close(self, reference: int) -> Balanced:
        """The chunk's outcome, on the scale of the target at ``reference``, or else of the first
        that entered.

        Where histories last, that of the main member sets the scale as soon as it has one, whoever
        is drawn.

        Args:
            reference: position of the main member among the targets; if it does not enter, the
                first that does is used.
        """
        chunk, self._chunk = self._chunk, None
        assert chunk is not None and chunk.direction_KICHW is not None, "a chunk without targets"
        weights_KT, sums_KT = torch.stack(chunk.weights, dim=1), torch.stack(chunk.sums, dim=1)
        entered_KT = weights_KT > 0
        # G = 1 / w_ref * sum_t lambda_t w_t G_t; the weight of the first that entered is 1 (base /
        # base).
        scale_K = torch.where(entered_KT[:, reference], weights_KT[:, reference], 1.0)
        if self.lasts and self.mode != "none":
            main_K = self.history_KT[chunk.labels, self.main]
            # w_main = base / A_main: with it G = sum_t lambda_t (A_main / A_t) G_t.
            scale_K = torch.where((main_K > FLOOR) & ~chunk.base_K.isnan(), chunk.base_K / main_K, scale_K)
        divisor_K = scale_K.to(chunk.direction_KICHW)
        # Division by infinity would give 0, as if there were nothing to do; NaN makes the image
        # step skip the class.
        divisor_K = torch.where(divisor_K.isfinite(), divisor_K, torch.nan)
        direction_KICHW = chunk.direction_KICHW / divisor_K.view(-1, *[1] * (chunk.direction_KICHW.dim() - 1))
        return Balanced(
            direction_KICHW=direction_KICHW,
            weights_KT=weights_KT / scale_K[:, None],
            shares_KT=sums_KT / sums_KT.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny),
            magnitudes_KT=torch.stack(chunk.magnitudes, dim=1),
            norms_KT=torch.stack(chunk.norms, dim=1),
            entered_KT=entered_KT,
        )

    def _updated(self, step: int, labels: Tensor, target: int, magnitudes_K: Tensor, usable_K: Tensor) -> Tensor:
        """Update the history of a target; returns its new A in the chunk's classes, (K,).

        Args:
            step: step within the iteration.
            labels: the classes of the chunk, int64 (K,).
            target: position of the target.
            magnitudes_K: largest absolute entry of its gradient, a.
            usable_K: whether its gradient is finite, not zero, and admitted.
        """
        column = self._columns[target]
        history_K = self.history_KT[labels, column]
        at_floor_K = history_K <= FLOOR
        # At the floor off the period too, or a target that was unusable at step 0 would stay out
        # for q steps.
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
        step: step within the iteration.
        labels: the classes, int64 (K,).
        base_K: history of the first target that entered in each class; NaN before.
        direction_KICHW: sum of the weighted gradients; None before the first.
        weights, magnitudes, sums, norms: numbers of each target so far, (K,) each.
    """

    step: int
    labels: Tensor
    base_K: Tensor
    direction_KICHW: Tensor | None = None
    weights: list[Tensor] = field(default_factory=list)
    magnitudes: list[Tensor] = field(default_factory=list)
    sums: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
