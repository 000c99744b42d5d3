"""Number formats. ``bfloat16`` is torch's autocast within a network while images are matched:
matrix products, convolutions, and what follows them up to the next operation that torch keeps in
float32; features are averaged over squares in the format that they come in. Images, weights, their
gradients, the affine maps of aligners, and losses are in float32, as for ``tf32``.
"""

from __future__ import annotations

from typing import Literal

import torch

from hmdc_ray.config import Precision


def storage_dtype(precision: Precision) -> torch.dtype:
    """Format of images, weights and gradients."""
    return torch.float64 if precision == "float64" else torch.float32


def matrix_dtype(precision: Precision) -> torch.dtype | None:
    """Format of torch's autocast; None: none."""
    return torch.bfloat16 if precision == "bfloat16" else None


GpuFormat = Literal["tf32", "ieee"]
"""How a GPU multiplies float32: in TensorFloat-32, with ten bits after the point, or as the
standard says."""


def gpu_format(precision: Precision) -> GpuFormat:
    """The one rule for pool members, students and networks that are pre-trained: TensorFloat-32 for
    ``tf32`` alone."""
    return "tf32" if precision == "tf32" else "ieee"


def set_gpu_format(precision: Precision) -> None:
    """Let this process' GPU multiply by :func:`gpu_format`, in convolutions and in matrix products.

    Torch's own default is TensorFloat-32 in convolutions and float32 in matrix products.
    """
    name = gpu_format(precision)
    torch.backends.cuda.matmul.fp32_precision = name
    torch.backends.cudnn.conv.fp32_precision = name  # type: ignore[attr-defined]  # missing in torch's types
