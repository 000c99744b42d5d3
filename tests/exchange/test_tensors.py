"""Sums in blocks, and views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hmdc_ray.exchange.tensors import BLOCK, add_all, all_finite, shared, view, zeros


@pytest.mark.parametrize("size", [1, 7, BLOCK, 2 * BLOCK + 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sum_in_blocks_has_the_bits_of_one_addition_after_the_other(size: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(size)
    total, *parts = (torch.randn(1, size, generator=generator, dtype=dtype) for _ in range(6))
    expected = total.clone()
    for part in parts:
        expected += part
    add_all(total, parts)
    assert torch.equal(total, expected)
    add_all(total, [])
    assert torch.equal(total, expected)


def test_parts_may_lie_otherwise_in_memory_and_be_read_only() -> None:
    part = torch.arange(6.0).view(2, 3)
    array = np.ones((3, 2), np.float32)
    array.flags.writeable = False
    total = zeros(part.T)
    add_all(total, [part.T, view(array)])
    assert torch.equal(total, part.T + 1)


@pytest.mark.parametrize("part", [torch.zeros(2, 3), torch.zeros(1), torch.zeros(3, 4), torch.zeros(3, 2).double()])
def test_a_part_of_another_shape_or_type_is_refused_with_both(part: Tensor) -> None:
    with pytest.raises(
        RuntimeError, match=r"a message holds values \(.*\) of torch.float.., but the sum is \(3, 2\) of torch.float32"
    ):
        add_all(torch.zeros(3, 2), [torch.zeros(3, 2), part])


def test_what_is_shared_is_read_only() -> None:
    tensor = torch.zeros(3)
    array = shared(tensor)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    assert view(array).data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_found_and_large_ones_pass(value: float) -> None:
    values = torch.full((4, 3), 1e30)  # whose squares are not finite in float32
    assert all_finite(values)
    values[2, 1] = value
    assert not all_finite(values)
