"""The one way between a process' own memory and that of its device: many tensors in one copy.

A copy costs a GPU some microseconds of waiting whatever its size, so what is needed together moves
together. On CUDA it goes through pinned memory, which is the fastest way, and to the device without
waiting. On the CPU nothing moves.

What a device must do without the tensors being looked at, because every look waits for it, is left
to callers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

ALIGNMENT = 16
"""Bytes by whose multiples tensors begin in a copy."""


def to_device(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors of the CPU on a device, all in one copy.

    Args:
        tensors: tensors of any shapes and types, which are only read.
        device: device to copy to.

    Returns:
        Contiguous tensors of the same shapes and types, which share one block of memory; on the CPU
        the tensors themselves.
    """
    if device.type == "cpu" or not tensors:
        return list(tensors)
    block = torch.empty(_bytes(tensors), dtype=torch.uint8, pin_memory=device.type == "cuda")
    for part, tensor in zip(_parts(block, tensors), tensors, strict=True):
        part.copy_(tensor)
    return _parts(block.to(device, non_blocking=True), tensors)


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of one device on the CPU, without their graphs, all in one copy, which is waited for.

    Returns:
        Contiguous tensors of the same shapes and types, which share one block of memory; of tensors
        on the CPU those themselves.
    """
    tensors = [tensor.detach() for tensor in tensors]
    if not tensors or tensors[0].device.type == "cpu":
        return tensors
    device = tensors[0].device
    block = torch.empty(_bytes(tensors), dtype=torch.uint8, device=device)
    for part, tensor in zip(_parts(block, tensors), tensors, strict=True):
        part.copy_(tensor)
    host = torch.empty(len(block), dtype=torch.uint8, pin_memory=device.type == "cuda")
    return _parts(host.copy_(block), tensors)


def _places(tensors: Sequence[Tensor]) -> list[int]:
    """Where each tensor begins in a block, in bytes, and where the block ends."""
    sizes = (math.ceil(tensor.numel() * tensor.element_size() / ALIGNMENT) * ALIGNMENT for tensor in tensors)
    return list(accumulate(sizes, initial=0))


def _bytes(tensors: Sequence[Tensor]) -> int:
    return _places(tensors)[-1]


def _parts(block: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Views of a block of bytes, of the shapes and types of these tensors."""
    starts = zip(_places(like), like, strict=False)
    return [block[start : start + one.numel() * one.element_size()].view(one.dtype).view(one.shape) for start, one in starts]
