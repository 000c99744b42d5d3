"""How large a gradient is, class by class: what the balance of targets weighs them by.

Each member measures its own, so that the server reads a gradient only once, to add it.

Shapes: K classes of a chunk, P = I * C * H * W entries of a class' gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hmdc_ray.exchange.messages import GradientSizes


def gradient_sizes(gradient_KICHW: Tensor) -> GradientSizes:
    """Sizes of the gradient of one target, (K,) each in float64; those of a class that is not
    finite are not finite."""
    return as_message(measured(gradient_KICHW))


def as_message(sizes_3K: Tensor) -> GradientSizes:
    """What :func:`measured` gave, on the CPU."""
    return GradientSizes(*sizes_3K.numpy())


def measured(gradient_KICHW: Tensor) -> Tensor:
    """Largest absolute entries, sums of absolute entries, and Euclidean norms, (3, K) in float64,
    on the gradient's device."""
    flat_KP = gradient_KICHW.flatten(1)
    absolute_KP = flat_KP.abs()
    if gradient_KICHW.device.type == "cpu":
        sums_K, norms_K = _sums(absolute_KP), _norms(flat_KP)
    else:  # in float64 from the start, which no sum leaves, so that nobody needs to look
        sums_K = absolute_KP.sum(dim=1, dtype=torch.float64)
        norms_K = torch.linalg.vector_norm(flat_KP, dim=1, dtype=torch.float64)
    return torch.stack([absolute_KP.amax(dim=1).double(), sums_K, norms_K])


def _sums(values_KP: Tensor) -> Tensor:
    """Sums of rows, (K,) in float64; taken in float64 where a sum leaves the range of the values'
    type."""
    sums_K = values_KP.sum(dim=1).double()
    return sums_K if sums_K.isfinite().all() else values_KP.double().sum(dim=1)


def _norms(values_KP: Tensor) -> Tensor:
    """Euclidean norms of rows, (K,) in float64; taken in float64 where squares leave the range of
    the values' type."""
    norms_K: Tensor = torch.linalg.vector_norm(values_KP, dim=1).double()
    in_range_K = norms_K.isfinite() & (norms_K > torch.finfo(values_KP.dtype).tiny ** 0.25)
    if not in_range_K.all():
        norms_K = torch.linalg.vector_norm(values_KP.double(), dim=1)
    return norms_K
