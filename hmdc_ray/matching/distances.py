"""Distances between the gradients of real and synthetic batches.

A list of gradients has one tensor per parameter, of that parameter's shape.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

Metric = Literal["mse", "cosine", "l1"]

COSINE_EPSILON = 1e-6
"""Added to the product of two norms, which may be 0 (DC, released code)."""


def distance(metric: Metric, real: Iterable[Tensor], synthetic: Iterable[Tensor]) -> Tensor:
    """Distance D between two lists of parameter gradients, as a scalar with gradient.

    Args:
        metric: ``mse``, the sum over parameters of squared differences (HMDC); ``cosine``, the sum
            over rows of one minus the cosine (DC, its equation 6 as released), in which tensors
            with one dimension count nothing; ``l1``, the sum of absolute differences (IDC).
        real: gradients of the real batch, constants, one per parameter.
        synthetic: gradients of the synthetic batch, with their graph, in the same order and of the
            same shapes.
    """
    parts = [_PARTS[metric](r, s) for r, s in zip(real, synthetic, strict=True)]
    return torch.stack(parts).sum()


def _squared(real: Tensor, synthetic: Tensor) -> Tensor:
    """Sum over all entries, not their mean (HMDC); a scalar."""
    return (real - synthetic).square().sum()


def _absolute(real: Tensor, synthetic: Tensor) -> Tensor:
    """Sum over all entries (IDC); a scalar."""
    return (real - synthetic).abs().sum()


def _rowwise_cosine(real: Tensor, synthetic: Tensor) -> Tensor:
    """Sum over the R rows of a parameter, of P entries each, of 1 - <r, s> / (|r| |s|); a
    scalar."""
    if real.dim() < 2:
        return synthetic.new_zeros(())
    # One row per output node (DC): a convolution's kernels as (out, in * h * w).
    real_RP, synthetic_RP = real.flatten(1), synthetic.flatten(1)
    norms_R: Tensor = real_RP.norm(dim=1) * synthetic_RP.norm(dim=1)
    cosines_R = (real_RP * synthetic_RP).sum(dim=1) / (norms_R + COSINE_EPSILON)
    return (1 - cosines_R).sum()


_PARTS = {"mse": _squared, "cosine": _rowwise_cosine, "l1": _absolute}
