"""Tensors on the memory of messages, and checks of tensors."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmdc_ray.messages import Array


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


def all_finite(values: Tensor) -> bool:
    """Whether no value is infinite or NaN. Finite squares add up to a finite sum unless they are very large: one fast pass."""
    flat = values.flatten()
    return bool(flat.dot(flat).isfinite()) or bool(values.isfinite().all())
