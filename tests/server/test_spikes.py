from __future__ import annotations

import math

import numpy as np
import torch

from hmdc_ray.server.spikes import DECAY, DECAY_REFUSED, SpikeGuard


def admitted(guard: SpikeGuard, labels: list[int], *losses: list[float]) -> list[list[bool]]:
    """Classes x targets."""
    found = [guard.admits(labels, target, values) for target, values in enumerate(losses)]
    columns = [column.tolist() for column in found if column is not None]
    assert len(columns) == len(losses)
    return [list(row) for row in zip(*columns, strict=True)]


def guarded(targets: int = 1, classes: int = 2) -> SpikeGuard:
    guard = SpikeGuard(3.0, classes)
    guard.reset(targets)
    return guard


def test_without_a_factor_there_is_no_guard() -> None:
    guard = SpikeGuard(None, 2)
    guard.reset(2)
    assert guard.admits([0, 1], 1, (1e30, math.nan)) is None
    assert guard.means_KT.shape == (2, 0)


def test_only_the_target_and_class_whose_loss_jumps_is_left_out() -> None:
    guard = guarded(targets=2)
    assert admitted(guard, [0, 1], [1.0, 10.0], [2.0, 20.0]) == [[True, True], [True, True]]
    assert admitted(guard, [0, 1], [3.0, 30.1], [6.1, 59.0]) == [[True, False], [False, True]]


def test_the_mean_is_an_exponential_one_in_which_a_spike_counts_as_the_limit() -> None:
    guard = guarded(classes=1)
    mean = 2.0
    for loss in (2.0, 4.0, 1.0, 500.0, 3.0):
        admitted(guard, [0], [loss])
        decay = DECAY_REFUSED if loss > 3.0 * mean else DECAY
        mean = decay * mean + (1 - decay) * min(loss, 3.0 * mean)
        np.testing.assert_allclose(guard.means_KT.item(), mean, rtol=1e-14)


def test_a_lasting_change_is_admitted_in_the_end() -> None:
    for factor, longest in ((1.5, 10), (3.0, 3), (5.0, 2)):
        guard = SpikeGuard(factor, 1)
        guard.reset(1)
        admitted(guard, [0], [1.0])
        course = [admitted(guard, [0], [10.0]) == [[True]] for _ in range(20)]
        first = course.index(True)
        assert 1 <= first <= longest and all(course[first:])


def test_a_loss_of_zero_says_nothing_of_the_next() -> None:
    guard = guarded(classes=1)
    assert [admitted(guard, [0], [loss]) for loss in (0.0, 1.0, 2.0, 7.0)] == [[[True]], [[True]], [[True]], [[False]]]


def test_a_fresh_network_is_not_judged_by_the_old_one() -> None:
    guard = guarded(targets=2)
    admitted(guard, [0, 1], [1.0, 1.0], [1.0, 1.0])
    guard.forget(1)
    assert admitted(guard, [0, 1], [9.0, 1.0], [9.0, 9.0]) == [[False, True], [True, True]]


def test_losses_that_are_not_finite_are_left_to_the_balance() -> None:
    guard = guarded()
    assert admitted(guard, [0, 1], [math.nan, 1.0]) == [[True], [True]]
    assert admitted(guard, [0, 1], [5.0, math.inf]) == [[True], [True]]
    assert guard.means_KT.flatten().tolist() == [5.0, 1.0]


def test_an_iteration_starts_anew() -> None:
    guard = guarded()
    admitted(guard, [0, 1], [1.0, 1.0])
    guard.reset(1)
    assert admitted(guard, [0, 1], [100.0, 100.0]) == [[True], [True]]


def test_chunks_of_classes_change_nothing() -> None:
    whole, parts = guarded(classes=3), guarded(classes=3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        losses = torch.rand(3, generator=generator).mul(10).tolist()
        expected = admitted(whole, [0, 1, 2], losses)
        found = admitted(parts, [2], [losses[2]]) + admitted(parts, [0, 1], losses[:2])
        assert found[1:] + found[:1] == expected
    assert torch.equal(whole.means_KT, parts.means_KT)
