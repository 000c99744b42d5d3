"""Number formats. ``bfloat16`` is torch's autocast within a network while images are matched: matrix products, convolutions,
and what follows them up to the next operation that torch keeps in float32; features are averaged over squares in the format
that they come in. Images, weights, their gradients, the affine maps of aligners, and losses are in float32, as for ``tf32``.
"""

from __future__ import annotations

import torch

from hmdc_ray.config import Precision


def storage_dtype(precision: Precision) -> torch.dtype:
    """Format of images, weights and gradients."""
    return torch.float64 if precision == "float64" else torch.float32


def matrix_dtype(precision: Precision) -> torch.dtype | None:
    """Format of torch's autocast; None: none."""
    return torch.bfloat16 if precision == "bfloat16" else None


def set_gpu_format(precision: Precision) -> None:
    """Let this process' GPU multiply float32 in TensorFloat-32 for ``tf32``, and exactly for all others; for pool members.

    Torch's own default is TensorFloat-32 in convolutions and float32 in matrix products.
    """
    name = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = name
    torch.backends.cudnn.conv.fp32_precision = name  # type: ignore[attr-defined]  # missing in torch's types
