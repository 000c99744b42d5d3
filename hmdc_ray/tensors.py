"""Tensors on the memory of messages."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from hmdc_ray.messages import Array


def view(array: Array) -> Tensor:
    """An array of a message as a tensor, without a copy: to be read only, for Ray's messages lie in shared memory."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)
