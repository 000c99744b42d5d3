"""Operations and bytes counted against counts by hand, and gradients compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from parity.runs import gradients_message
from torch.nn import functional as F

from hmdc_ray.exchange.messages import Gradients
from hmdc_ray.profiling.floor import Floor
from hmdc_ray.profiling.operations import Count, Operations, total
from hmdc_ray.profiling.rates import bandwidth, matrix_rate
from hmdc_ray.profiling.targets import compare, targets


def test_operations_of_a_convolution_and_its_two_derivatives() -> None:
    """Two images of 3 channels and 8x8 pixels, four kernels of 3x3 without padding: 2 * 2 * 4 * 3 * 9 * 36 for each part."""
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


def test_a_step_is_held_against_the_rates_around_it() -> None:
    floor = Floor({"aten.mm": Count(1, 100, 0, 30.0, 0.0)}, 5.0, (99.0, 10.0, 20.0, 40.0, 50.0), 1.0)
    assert floor.multiples([2.0, 3.0]) == [2.0 * 15 / 100, 3.0 * 30 / 100]
    assert floor.plain_multiple == 2.5
    assert floor.seconds == 2.5
    assert floor.roofline == 30.0


def test_rates_are_those_of_a_processor() -> None:
    assert 1e8 < matrix_rate(1) < 1e14
    assert 1e8 < bandwidth(1) < 1e13


def test_gradients_of_a_target_over_chunks_and_members() -> None:
    def message(label: int, value: float) -> Gradients:
        return gradients_message((label,), np.full((1, 1), float(value)), np.full((1, 1), 10.0 * value))

    messages: dict[tuple[str, str], list[Any]] = {
        ("a", "match"): [(None, None, None), (None, None, None)],
        ("a", "pull_back"): [message(0, 1), message(1, 2)],
        ("b", "match"): [(message(0, 3), None, None), (message(1, 4), None, None)],  # as without mutual distillation
    }
    found = targets(messages)
    assert {name: array.ravel().tolist() for name, array in found.items()} == {
        "a": [1, 2],
        "b": [3, 4],
        "distillation": [10 + 30, 20 + 40],
    }
    turned = {**found, "a": np.array([[2.0], [-1.0]])}
    agreement = compare(turned, found)
    assert agreement["a"].cosine == pytest.approx(0)
    assert agreement["a"].error == pytest.approx(np.sqrt(2))
    assert agreement["b"].error == 0
    assert agreement["b"].cosine == pytest.approx(1)
