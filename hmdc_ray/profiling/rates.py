"""The highest rates of the processor, measured."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from hmdc_ray.evaluation.device import torch_threads

SIDE = 2048
"""Rows and columns of the matrices."""

COPIED = 2**28
"""Bytes that are copied, more than any cache holds."""

REPEATS = 3


def matrix_rate(threads: int, dtype: torch.dtype = torch.float32) -> float:
    """Floating point operations per second of a product of square matrices."""
    a, b = torch.ones(SIDE, SIDE, dtype=dtype), torch.ones(SIDE, SIDE, dtype=dtype)
    with torch_threads(threads):
        return 2 * SIDE**3 / _least_seconds(lambda: a @ b)


def bandwidth(threads: int) -> float:
    """Bytes per second, read and written, of a copy."""
    source = torch.ones(COPIED, dtype=torch.uint8)
    target = torch.empty_like(source)
    with torch_threads(threads):
        return 2 * COPIED / _least_seconds(lambda: target.copy_(source))


def has_bfloat16_units() -> bool:
    """Whether this processor multiplies matrices of bfloat16 itself."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def _least_seconds(work: Callable[[], object]) -> float:
    work()  # loads the kernel
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
