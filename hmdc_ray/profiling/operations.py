"""Arithmetic operations and memory traffic of whatever runs, counted operator by operator as torch
dispatches them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_UNTOUCHED = (torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.new_empty)
"""Operators that take memory and write nothing."""


@dataclass
class Count:
    """All calls of one operator.

    Attributes:
        calls: number of calls.
        operations: floating point operations, by torch's registry: of matrix products and
            convolutions alone, a multiplication and an addition being two.
        moved: bytes of the tensors that were read and of those that were written.
        limit: seconds of the roofline: of every call the larger of operations over the matrix rate
            and bytes over the bandwidth.
        seconds: seconds that the calls took.
    """

    calls: int = 0
    operations: int = 0
    moved: int = 0
    limit: float = 0.0
    seconds: float = 0.0


def total(counts: Iterable[Count]) -> Count:
    """All of them as one."""
    found = Count()
    for count in counts:
        found.calls += count.calls
        found.operations += count.operations
        found.moved += count.moved
        found.limit += count.limit
        found.seconds += count.seconds
    return found


class Operations(TorchDispatchMode):
    """Counts the operators of a block, those of first and second derivatives included.

    (:class:`torch.utils.flop_counter.FlopCounterMode` follows modules by hooks on tensors, which
    second derivatives break.)

    Args:
        rate: floating point operations per second of a matrix product.
        bandwidth: bytes per second of a copy, read and written.

    Attributes:
        counts: sums of all calls by operator, such as ``aten.convolution``.
    """

    def __init__(self, rate: float, bandwidth: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: defaultdict[str, Count] = defaultdict(Count)
        self._rate = rate
        self._bandwidth = bandwidth

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        start = time.perf_counter()
        out = func(*args, **given)
        seconds = time.perf_counter() - start
        packet = func._overloadpacket
        formula = flop_registry.get(packet)
        operations = formula(*args, **given, out_val=out) if formula else 0
        moved = 0 if func.is_view or packet in _UNTOUCHED else _bytes(args, given, out)
        count = self.counts[str(packet)]
        count.calls += 1
        count.operations += operations
        count.moved += moved
        count.seconds += seconds
        count.limit += max(operations / self._rate, moved / self._bandwidth)
        return out


def _bytes(*values: Any) -> int:
    """Bytes of the different tensors among the values; one that is read and written in place counts
    once."""
    tensors = {id(leaf): leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)}
    return sum(tensor.nbytes for tensor in tensors.values() if tensor.layout == torch.strided)
