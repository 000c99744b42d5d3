"""Tensors that share memory with messages, sums of them, and checks. All functions take tensors of
any shape."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmdc_ray.exchange.messages import Array
from hmdc_ray.system.memory import on_disk

BLOCK = 2**16
"""Number of values that are summed at a time."""


def view(array: NDArray[np.generic]) -> Tensor:
    """An array of a message as a tensor, without a copy: only to be read, for Ray's messages are in
    shared memory."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


def shared(tensor: Tensor) -> Array:
    """A tensor as a read-only array of a message, without a copy; the tensor must not be changed
    afterwards."""
    array = tensor.numpy()
    array.flags.writeable = False
    return array


def zeros(like: Tensor) -> Tensor:
    """Zeros of a tensor's shape and type, contiguous in memory whatever the tensor's own strides
    are."""
    return torch.zeros_like(like, memory_format=torch.contiguous_format)


def zeros_on_disk(like: Tensor) -> Tensor:
    """Zeros as :func:`zeros` gives, but in memory mapped from a file; see
    :func:`hmdc_ray.system.memory.on_disk`."""
    return torch.from_numpy(on_disk(like.shape, like.numpy().dtype))


def add_all(total: Tensor, parts: Sequence[Tensor]) -> None:
    """Add CPU tensors in order to a contiguous one, in place.

    Block by block, so that the sum stays in the processor's cache; NumPy takes a fifth less time
    for it than torch.

    Args:
        total: sum that is added to, of any shape.
        parts: tensors of the same shape and type as ``total``.

    Raises:
        RuntimeError: a part has another shape or type; the message holds both.
    """
    for part in parts:
        if part.shape != total.shape or part.dtype != total.dtype:
            found, expected = (f"{tuple(tensor.shape)} of {tensor.dtype}" for tensor in (part, total))
            raise RuntimeError(f"a message holds values {found}, but the sum is {expected}")
    flat, others = total.view(-1).numpy(), [part.reshape(-1).numpy() for part in parts]
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK]
        for other in others:
            np.add(block, other[start : start + BLOCK], out=block)


def all_finite(values: Tensor) -> bool:
    """Whether no value is infinite or NaN."""
    flat = values.flatten()
    # One fast pass: a finite sum of squares has finite terms. If it overflows, the values
    # themselves decide.
    return bool(flat.dot(flat).isfinite()) or bool(values.isfinite().all())
