"""Operations and bytes counted against counts by hand."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from hmdc_ray.profiling.operations import Count, Operations, total


def test_operations_of_a_convolution_and_its_two_derivatives() -> None:
    """Two images of 3 channels and 8x8 pixels, four kernels of 3x3 without padding: 2 * 2 * 4 * 3 *
    9 * 36 for each part."""
    x, weight = torch.randn(2, 3, 8, 8, requires_grad=True), torch.randn(4, 3, 3, 3, requires_grad=True)
    part = 2 * 2 * 4 * 3 * 9 * 36
    forward, first, second = (Operations(1e9, 1e9) for _ in range(3))
    with forward:
        y = F.conv2d(x, weight)
    with first:
        (gradient,) = torch.autograd.grad(y.square().sum(), weight, create_graph=True)
    with second:
        torch.autograd.grad(gradient.square().sum(), x)
    assert total(forward.counts.values()).operations == part
    assert total(first.counts.values()).operations == part
    # The derivatives of a product of x and y with respect to both, and of y with respect to x.
    assert total(second.counts.values()).operations == 3 * part


def test_the_roofline_takes_the_slower_of_arithmetic_and_memory() -> None:
    a = torch.ones(4, 4)
    with Operations(rate=1.0, bandwidth=1e9) as slow_arithmetic:
        a @ a
    with Operations(rate=1e9, bandwidth=1.0) as slow_memory:
        a @ a
        a.view(16)
        a.add_(1)
    assert slow_arithmetic.counts["aten.mm"].limit == 2 * 4**3
    assert slow_memory.counts["aten.mm"].limit == slow_memory.counts["aten.mm"].moved == 2 * 64  # a once, and the product
    assert slow_memory.counts["aten.view"].moved == 0
    assert slow_memory.counts["aten.add_"].moved == 64


def test_counts_add_up() -> None:
    assert total([Count(1, 2, 3, 4.0, 5.0), Count(10, 20, 30, 40.0, 50.0)]) == Count(11, 22, 33, 44.0, 55.0)
