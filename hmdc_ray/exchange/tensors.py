"""Tensors on the memory of messages, and checks of tensors."""

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
"""Values that are summed at a time."""


def view(array: NDArray[np.generic]) -> Tensor:
    """An array of a message as a tensor, without a copy: to be read only, for Ray's messages lie in shared memory."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


def shared(tensor: Tensor) -> Array:
    """A tensor as an array of a message, without a copy: to be read only, and the tensor not to be changed any more."""
    array = tensor.numpy()
    array.flags.writeable = False
    return array


def zeros(like: Tensor) -> Tensor:
    """Zeros of a tensor's shape and type that lie densely, in whatever order that tensor's values lie."""
    return torch.zeros_like(like, memory_format=torch.contiguous_format)


def zeros_on_disk(like: Tensor) -> Tensor:
    """As :func:`zeros`, in memory that a file stands for; see :func:`hmdc_ray.system.memory.on_disk`."""
    return torch.from_numpy(on_disk(like.shape, like.numpy().dtype))


def add_all(total: Tensor, parts: Sequence[Tensor]) -> None:
    """Add tensors in order to a dense one, in place; all are in the processor's memory.

    Block by block, so that the sum stays in the processor's cache; in NumPy, which takes a fifth less time for it than torch.

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
    """Whether no value is infinite or NaN. Finite squares add up to a finite sum unless they are very large: one fast pass."""
    flat = values.flatten()
    return bool(flat.dot(flat).isfinite()) or bool(values.isfinite().all())
