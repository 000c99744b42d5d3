"""Number formats of a network's matrix products and convolutions; images, weights and gradients stay in float32 or float64."""

from __future__ import annotations

import torch

from hmdc_ray.config import Precision


def storage_dtype(precision: Precision) -> torch.dtype:
    """Format of images, weights and gradients."""
    return torch.float64 if precision == "float64" else torch.float32


def matrix_dtype(precision: Precision) -> torch.dtype | None:
    """Format that torch casts the inputs of matrix products and convolutions to (autocast); None: no other."""
    return torch.bfloat16 if precision == "bfloat16" else None


def set_gpu_format(precision: Precision) -> None:
    """Let this process' GPU multiply float32 in TensorFloat-32 for ``tf32``, and exactly for all others.

    Torch's own default is TensorFloat-32 in convolutions and float32 in matrix products.
    """
    name = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = name
    torch.backends.cudnn.conv.fp32_precision = name  # type: ignore[attr-defined]  # missing in torch's types
