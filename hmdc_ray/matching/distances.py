"""Distances between the gradients of real and synthetic batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

Metric = Literal["mse", "cosine", "l1"]

COSINE_EPSILON = 1e-6


def distance(metric: Metric, real: Iterable[Tensor], synthetic: Iterable[Tensor]) -> Tensor:
    """Distance D between two lists of parameter gradients, as a scalar with gradient.

    Args:
        metric: ``mse``, the sum over parameters of squared differences (HMDC); ``cosine``, the sum over rows of one minus
            the cosine (DC, its equation 6 as released), in which tensors with one dimension count nothing; ``l1``, the sum
            of absolute differences (IDC).
        real: gradients of the real batch, constants.
        synthetic: gradients of the synthetic batch, with their graph, in the same order.
    """
    parts = [_PARTS[metric](r, s) for r, s in zip(real, synthetic, strict=True)]
    return torch.stack(parts).sum()


def _squared(real: Tensor, synthetic: Tensor) -> Tensor:
    return (real - synthetic).square().sum()


def _absolute(real: Tensor, synthetic: Tensor) -> Tensor:
    return (real - synthetic).abs().sum()


def _rowwise_cosine(real: Tensor, synthetic: Tensor) -> Tensor:
    if real.dim() < 2:
        return synthetic.new_zeros(())
    real, synthetic = real.flatten(1), synthetic.flatten(1)
    norms: Tensor = real.norm(dim=1) * synthetic.norm(dim=1)
    cosines = (real * synthetic).sum(dim=1) / (norms + COSINE_EPSILON)
    return (1 - cosines).sum()


_PARTS = {"mse": _squared, "cosine": _rowwise_cosine, "l1": _absolute}
