"""The Gradient Balance Module (HMDC section 3.4): numbers, left-out targets, and what must not
change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from hmdc_ray.config import BalanceConfig
from hmdc_ray.matching.sizes import gradient_sizes
from hmdc_ray.server.balance import FLOOR, Balanced, GradientBalance, Mode

MODES: tuple[Mode, ...] = get_args(Mode)
BALANCING: tuple[Mode, ...] = ("sum", "max", "ema", "last")
CLASSES, MEMBERS, MAIN = 2, 3, 0
SHAPE = (CLASSES, 3, 1, 4, 4)


def gradient(largest: float, seed: int = 0) -> Tensor:
    """A gradient whose largest absolute entry in every class is as given."""
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return noise / noise.flatten(1).abs().amax(1).view(-1, 1, 1, 1, 1) * largest


def balance(
    balancer: GradientBalance,
    gradients: Sequence[Tensor],
    step: int = 0,
    reference: int = 0,
    lambdas: Sequence[float] | None = None,
    labels: Sequence[int] = range(CLASSES),
) -> Balanced:
    balancer.open(step, labels)
    weighted = zip(gradients, lambdas or [1.0] * len(gradients), strict=True)
    balancer.add(gradients, [balancer.weigh(gradient_sizes(part), weight) for part, weight in weighted])
    return balancer.close(reference)


def made(mode: Mode, targets: int, period: int = 1) -> GradientBalance:
    balancer = GradientBalance(mode, period, CLASSES)
    balancer.begin(range(targets))
    return balancer


THREE = [gradient(2.0, 1), gradient(0.5, 2), gradient(1.0, 3)]


# Numbers


@pytest.mark.parametrize("mode", BALANCING)
@pytest.mark.parametrize("reference", [0, 1, 2])
def test_history_2_half_1_weighs_a_quarter_1_half(mode: Mode, reference: int) -> None:
    balanced = balance(made(mode, 3), THREE, reference=reference)
    weights = torch.tensor([0.25, 1.0, 0.5], dtype=torch.float64)
    assert torch.allclose(balanced.weights_KT, (weights / weights[reference]).expand(CLASSES, 3), rtol=1e-5)
    expected = sum(float(weight) * part for weight, part in zip(weights, THREE, strict=True)) / float(weights[reference])
    assert torch.allclose(balanced.direction_KICHW, torch.as_tensor(expected), atol=2e-5)
    assert torch.allclose(balanced.magnitudes_KT, torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64).expand(CLASSES, 3))


def test_weighting_gradients_is_weighting_losses() -> None:
    images = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    losses = [images.sin().sum(), (images**3).mean(), (0.01 * images.exp()).sum()]
    gradients = [torch.autograd.grad(loss, images, retain_graph=True)[0] for loss in losses]
    lambdas = [1.0, 0.3, 2.0]
    balanced = balance(made("sum", 3), gradients, lambdas=lambdas)
    for label in range(CLASSES):
        # Weights of a class hold for its images only, so each class is a backward pass of its own.
        weighted = [w * factor * loss for w, factor, loss in zip(balanced.weights_KT[label], lambdas, losses, strict=True)]
        (joint,) = torch.autograd.grad(torch.stack(weighted).sum(), images, retain_graph=True)
        assert torch.allclose(balanced.direction_KICHW[label], joint[label], rtol=1e-12)


def test_with_last_the_largest_weighted_gradients_are_equal_at_every_step() -> None:
    balancer = made("last", 3)
    for step in range(4):
        gradients = [gradient(size, seed) for seed, size in enumerate((1e-4 * 3**step, 0.8, 7.0 / (step + 1)))]
        balanced = balance(balancer, gradients, step)
        largest = balanced.weights_KT * balanced.magnitudes_KT
        assert torch.allclose(largest, largest[:, :1].expand_as(largest), rtol=1e-12)


def test_histories() -> None:
    sizes = (1.0, 4.0, 2.0)
    expected = {"sum": [1.0, 5.0, 7.0], "max": [1.0, 4.0, 4.0], "ema": [1.0, 2.5, 2.25], "last": [1.0, 4.0, 2.0]}
    for mode in BALANCING:
        balancer = made(mode, 1)
        found = []
        for step, size in enumerate(sizes):
            balance(balancer, [gradient(size)], step)
            found.append(float(balancer.history_KT[0, 0]))
        assert found == pytest.approx(expected[mode], rel=1e-5)


def test_history_is_updated_at_its_period_only() -> None:
    balancer = made("sum", 1, period=3)
    found = []
    for step in range(7):
        balance(balancer, [gradient(1.0)], step)
        found.append(round(float(balancer.history_KT[0, 0]), 3))
    assert found == [1, 1, 1, 2, 2, 2, 3]


def test_reset_forgets() -> None:
    balancer = made("sum", 2)
    balance(balancer, THREE[:2])
    balancer.begin(range(3))
    assert torch.equal(balancer.history_KT, torch.full((CLASSES, 3), FLOOR, dtype=torch.float64))


def test_classes_are_balanced_apart_and_in_any_order() -> None:
    gradients = [torch.cat([3 * part[:1], part[1:]]) * size for part, size in zip(THREE, (1, 5, 1), strict=True)]
    together, apart = made("sum", 3), made("sum", 3)
    whole = balance(together, gradients)
    for label in (1, 0):
        single = balance(apart, [part[label : label + 1] for part in gradients], labels=[label])
        assert torch.equal(single.direction_KICHW[0], whole.direction_KICHW[label])
        assert torch.equal(single.weights_KT[0], whole.weights_KT[label])
    assert torch.equal(together.history_KT, apart.history_KT)


def test_shares_are_parts_of_the_update_and_loss_weights_count() -> None:
    balanced = balance(made("last", 2), [gradient(1.0), gradient(5.0)], lambdas=[1.0, 3.0])
    assert torch.allclose(balanced.shares_KT, torch.tensor([0.25, 0.75], dtype=torch.float64).expand(CLASSES, 2))
    silent = balance(made("last", 2), [gradient(1.0), gradient(5.0)], lambdas=[1.0, 0.0])
    assert torch.equal(silent.direction_KICHW, gradient(1.0))
    assert silent.shares_KT.tolist() == [[1.0, 0.0]] * CLASSES


# What is plain DC


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", MODES)
def test_one_target_is_applied_as_it_is(mode: Mode, dtype: torch.dtype) -> None:
    balancer = made(mode, 1)
    for step in range(3):
        only = gradient(0.37 / (1 + step), seed=step).to(dtype)
        assert torch.equal(balance(balancer, [only], step).direction_KICHW, only)


def test_without_balancing_the_update_is_the_plain_sum() -> None:
    balanced = balance(made("none", 3), THREE)
    assert torch.equal(balanced.direction_KICHW, THREE[0] + THREE[1] + THREE[2])
    assert torch.equal(balanced.weights_KT, torch.ones(CLASSES, 3, dtype=torch.float64))


@pytest.mark.parametrize("mode", BALANCING)
def test_a_tiny_target_does_not_shrink_the_step_of_the_main_member(mode: Mode) -> None:
    balanced = balance(made(mode, 2), [gradient(0.5), gradient(1e-4, 1)])
    assert torch.equal(balanced.weights_KT[:, 0], torch.ones(CLASSES, dtype=torch.float64))
    assert balanced.direction_KICHW.abs().max() > 0.4


# Targets that are left out


def broken(kind: str) -> Tensor:
    if kind == "zero":
        return torch.zeros(SHAPE, dtype=torch.float64)
    if kind == "one NaN":
        one = gradient(1.0)
        one[:, 0, 0, 0, 0] = torch.nan
        return one
    return torch.full(SHAPE, float(kind), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["zero", "nan", "inf", "-inf", "one NaN"])
@pytest.mark.parametrize("when", [0, 1, 2, 3])
@pytest.mark.parametrize("mode", MODES)
def test_a_zero_or_broken_target_changes_nothing_for_the_others(mode: Mode, when: int, kind: str) -> None:
    whole, without = made(mode, 3, period=2), made(mode, 2, period=2)
    for step in range(5):
        parts = [gradient(size * (1 + step), seed=step + 10 * i) for i, size in enumerate((0.5, 2.0))]
        third = broken(kind) if step == when else gradient(0.1, seed=50 + step)
        found, expected = balance(whole, [parts[0], third, parts[1]], step), balance(without, parts, step)
        if step == when:
            assert torch.allclose(found.direction_KICHW, expected.direction_KICHW, rtol=1e-12)
            assert torch.allclose(found.weights_KT[:, [0, 2]], expected.weights_KT, rtol=1e-12)
            assert not found.weights_KT[:, 1].any() and not found.shares_KT[:, 1].any()
        assert found.entered_KT[:, 1].tolist() == [step != when] * CLASSES
        assert found.entered_KT[:, [0, 2]].all()
        assert found.direction_KICHW.isfinite().all()
        assert torch.equal(whole.history_KT[:, [0, 2]], without.history_KT)
    assert whole.history_KT.isfinite().all()
    if mode != "none":
        assert (whole.history_KT > FLOOR).all()
        assert (found.weights_KT > 0).all()


@pytest.mark.parametrize("mode", BALANCING)
def test_a_target_broken_at_first_enters_at_its_first_usable_step_off_the_period(mode: Mode) -> None:
    balancer = made(mode, 2, period=10)
    assert not balance(balancer, [gradient(1.0), broken("nan")], 0).weights_KT[:, 1].any()
    balanced = balance(balancer, [gradient(8.0), gradient(0.25, 1)], 1)
    assert torch.allclose(balanced.weights_KT[:, 1], torch.full((CLASSES,), 4.0, dtype=torch.float64), rtol=1e-4)


@pytest.mark.parametrize("mode", BALANCING)
def test_the_first_target_that_entered_sets_the_scale_when_the_main_member_did_not(mode: Mode) -> None:
    balanced = balance(made(mode, 3), [broken("zero"), gradient(0.5, 1), gradient(2.0, 2)])
    assert torch.allclose(
        balanced.weights_KT, torch.tensor([0.0, 1.0, 0.25], dtype=torch.float64).expand(CLASSES, 3), rtol=1e-5
    )


def test_a_target_may_be_left_out_of_one_class_only() -> None:
    half = torch.cat([broken("nan")[:1], gradient(0.5)[1:]])
    balanced = balance(made("sum", 2), [gradient(1.0, 1), half])
    assert balanced.entered_KT.tolist() == [[True, False], [True, True]]
    assert torch.equal(balanced.direction_KICHW[0], gradient(1.0, 1)[0])
    assert not torch.equal(balanced.direction_KICHW[1], gradient(1.0, 1)[1])


@pytest.mark.parametrize("mode", MODES)
def test_a_class_in_which_no_target_is_usable_stays_as_it_is(mode: Mode) -> None:
    balanced = balance(made(mode, 2), [broken("nan"), broken("zero")])
    assert torch.equal(balanced.direction_KICHW, torch.zeros(SHAPE, dtype=torch.float64))
    assert not balanced.shares_KT.any() and not balanced.weights_KT.any()


def test_a_target_below_the_floor_of_the_history_is_reported_as_left_out() -> None:
    balanced = balance(made("last", 2), [gradient(1.0), 1e-9 * gradient(1.0, 1)])
    assert balanced.entered_KT.tolist() == [[True, False]] * CLASSES


@pytest.mark.parametrize("largest", [1e-30, 1.0, 1e30])
def test_norms_are_right_where_squares_leave_the_range_of_the_type(largest: float) -> None:
    """The squares of 1e-30 and 1e30 are 0 and infinite in float32."""
    part = gradient(largest).float()
    balanced = balance(made("none", 1), [part])
    assert torch.allclose(balanced.norms_KT[:, 0], part.double().flatten(1).norm(dim=1), rtol=1e-6)
    assert torch.allclose(balanced.shares_KT, torch.ones(CLASSES, 1, dtype=torch.float64))


def test_shares_are_right_where_a_sum_leaves_the_range_of_the_type() -> None:
    largest = torch.full(SHAPE, 3e38)
    balanced = balance(made("none", 2), [largest, 0.75 * largest])
    assert torch.allclose(balanced.shares_KT, torch.tensor([4 / 7, 3 / 7], dtype=torch.float64).expand(CLASSES, 2))


def test_gradients_are_read_and_not_written() -> None:
    """They lie in memory that others read."""
    parts = [part.clone() for part in THREE]
    balance(made("sum", 3), parts)
    assert all(torch.equal(part, kept) for part, kept in zip(parts, THREE, strict=True))


def test_a_scale_beyond_the_type_of_the_gradients_leaves_no_direction_that_could_be_taken_for_nothing_to_do() -> None:
    gradients = [gradient(1e36).float(), gradient(1e-4).float()]
    balanced = balance(made("last", 2), gradients, reference=1, lambdas=[1e-3, 1e-3])
    assert balanced.entered_KT.all() and not balanced.direction_KICHW.isfinite().any()


# Histories that last for the run: a pool whose members are drawn is balanced against its main
# member

LAMBDAS = [1.0, 0.5, 2.0]
SCALES = [1.0, 300.0, 0.02]
"""How much larger one member's gradients are than another's."""


UPDATED: dict[str, Callable[[float, float], float]] = {
    "ema": lambda before, now: 0.5 * before + 0.5 * now,
    "last": lambda before, now: now,
    "max": max,
}


def losses_of(images: Tensor, member: int, draw: int) -> Tensor:
    """A member's target in every class, (K,); another function in every draw."""
    directions = torch.randn(SHAPE, generator=torch.Generator().manual_seed(10 * member + draw), dtype=torch.float64)
    return SCALES[member] * (images * directions + (images**2) * directions.cos()).flatten(1).sum(dim=1)


def gradients_of(images: Tensor, members: Sequence[int], draw: int) -> list[Tensor]:
    leaf = images.clone().requires_grad_()
    return [torch.autograd.grad(losses_of(leaf, member, draw).sum(), leaf)[0] for member in members]


def balance_drawn(balancer: GradientBalance, members: Sequence[int], gradients: Sequence[Tensor]) -> Balanced:
    balancer.begin(members)
    reference = members.index(MAIN) if MAIN in members else 0
    return balance(balancer, gradients, reference=reference, lambdas=[LAMBDAS[member] for member in members])


DRAWS = [(0,), (1,), (0, 2), (2,), (1,), (1, 2)]


@pytest.mark.parametrize("mode", ["ema", "last", "max"])
def test_a_drawn_pool_is_weighting_its_losses_by_hand(mode: Mode) -> None:
    """Images after several iterations are those of a joint loss, each member's part times A_main /
    A_member."""
    balancer = GradientBalance(mode, 10, CLASSES, lasting=MEMBERS + 1, main=MAIN)
    found = expected = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    history: dict[tuple[int, int], float] = {}
    for draw, members in enumerate(DRAWS):
        found = found - 0.1 * balance_drawn(balancer, members, gradients_of(found, members, draw)).direction_KICHW
        step = torch.zeros_like(expected)
        for label in range(CLASSES):
            leaf = expected.clone().requires_grad_()
            targets = [losses_of(leaf, member, draw)[label] for member in members]
            for member, target in zip(members, targets, strict=True):
                (gradient,) = torch.autograd.grad(target, leaf, retain_graph=True)
                largest, before = float(gradient.abs().max()), history.get((label, member))
                history[label, member] = UPDATED[mode](largest if before is None else before, largest)
            weights = [LAMBDAS[member] * history[label, MAIN] / history[label, member] for member in members]
            joint = sum(weight * target for weight, target in zip(weights, targets, strict=True))
            step += torch.autograd.grad(torch.as_tensor(joint), leaf)[0]
        expected = expected - 0.1 * step
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_every_drawn_member_moves_the_images_as_far_as_the_main_one() -> None:
    balancer = GradientBalance("last", 1, CLASSES, lasting=MEMBERS + 1, main=MAIN)
    images = torch.ones(SHAPE, dtype=torch.float64)
    largest = {}
    for member in range(MEMBERS):
        outcome = balance_drawn(balancer, [member], gradients_of(images, [member], 0))
        largest[member] = outcome.direction_KICHW.flatten(1).abs().amax(1) / LAMBDAS[member]
        assert torch.equal(outcome.entered_KT, torch.ones(CLASSES, 1, dtype=torch.bool))
    for member in range(1, MEMBERS):
        assert torch.allclose(largest[member], largest[MAIN], rtol=1e-12)


def test_before_the_main_member_has_a_history_the_first_drawn_sets_the_scale() -> None:
    balancer = GradientBalance("ema", 1, CLASSES, lasting=MEMBERS + 1, main=MAIN)
    images = torch.ones(SHAPE, dtype=torch.float64)
    (gradient,) = gradients_of(images, [1], 0)
    assert torch.allclose(balance_drawn(balancer, [1], [gradient]).direction_KICHW, LAMBDAS[1] * gradient, rtol=1e-12)


def test_a_target_that_is_not_finite_changes_no_history() -> None:
    balancer = GradientBalance("ema", 1, CLASSES, lasting=MEMBERS + 1, main=MAIN)
    images = torch.ones(SHAPE, dtype=torch.float64)
    balance_drawn(balancer, [0, 1], gradients_of(images, [0, 1], 0))
    before = balancer.history_KT.clone()
    outcome = balance_drawn(balancer, [2], [torch.full(SHAPE, torch.nan, dtype=torch.float64)])
    assert torch.equal(balancer.history_KT, before)
    assert not outcome.entered_KT.any() and torch.equal(outcome.direction_KICHW, torch.zeros(SHAPE, dtype=torch.float64))


@pytest.mark.parametrize("mode", ["none", "sum"])
def test_modes_that_cannot_last_are_refused(mode: str) -> None:
    with pytest.raises(ValidationError, match=f"scope is 'run', but mode '{mode}' .*: mode must be ema, last or max"):
        BalanceConfig.model_validate({"mode": mode, "scope": "run"})
