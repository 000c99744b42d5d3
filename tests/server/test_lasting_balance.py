"""Histories that last for the run: a pool whose members are drawn is balanced against its main member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from hmdc_ray.config import BalanceConfig, ImagesConfig, ScheduleConfig
from hmdc_ray.exchange.messages import Gradients
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.matching.sizes import gradient_sizes
from hmdc_ray.server.balance import Balanced, GradientBalance, Mode
from hmdc_ray.server.checkpoint import CheckpointFolder
from hmdc_ray.server.parameter_server import ParameterServer

CLASSES, MEMBERS, MAIN = 2, 3, 0
SHAPE = (CLASSES, 3, 1, 4, 4)
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


def balanced(balancer: GradientBalance, members: Sequence[int], gradients: Sequence[Tensor]) -> Balanced:
    balancer.begin(members)
    reference = members.index(MAIN) if MAIN in members else 0
    return balancer.balance(0, range(CLASSES), gradients, [LAMBDAS[member] for member in members], reference)


DRAWS = [(0,), (1,), (0, 2), (2,), (1,), (1, 2)]


@pytest.mark.parametrize("mode", ["ema", "last", "max"])
def test_a_drawn_pool_is_weighting_its_losses_by_hand(mode: Mode) -> None:
    """Images after several iterations are those of a joint loss, each member's part times A_main / A_member."""
    balancer = GradientBalance(mode, 10, CLASSES, lasting=MEMBERS + 1, main=MAIN)
    found = expected = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    history: dict[tuple[int, int], float] = {}
    for draw, members in enumerate(DRAWS):
        found = found - 0.1 * balanced(balancer, members, gradients_of(found, members, draw)).direction_KICHW
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
        outcome = balanced(balancer, [member], gradients_of(images, [member], 0))
        largest[member] = outcome.direction_KICHW.flatten(1).abs().amax(1) / LAMBDAS[member]
        assert torch.equal(outcome.entered_KT, torch.ones(CLASSES, 1, dtype=torch.bool))
    for member in range(1, MEMBERS):
        assert torch.allclose(largest[member], largest[MAIN], rtol=1e-12)


def test_before_the_main_member_has_a_history_the_first_drawn_sets_the_scale() -> None:
    balancer = GradientBalance("ema", 1, CLASSES, lasting=MEMBERS + 1, main=MAIN)
    images = torch.ones(SHAPE, dtype=torch.float64)
    (gradient,) = gradients_of(images, [1], 0)
    assert torch.allclose(balanced(balancer, [1], [gradient]).direction_KICHW, LAMBDAS[1] * gradient, rtol=1e-12)


def test_a_target_that_is_not_finite_changes_no_history() -> None:
    balancer = GradientBalance("ema", 1, CLASSES, lasting=MEMBERS + 1, main=MAIN)
    images = torch.ones(SHAPE, dtype=torch.float64)
    balanced(balancer, [0, 1], gradients_of(images, [0, 1], 0))
    before = balancer.history_KT.clone()
    outcome = balanced(balancer, [2], [torch.full(SHAPE, torch.nan, dtype=torch.float64)])
    assert torch.equal(balancer.history_KT, before)
    assert not outcome.entered_KT.any() and torch.equal(outcome.direction_KICHW, torch.zeros(SHAPE, dtype=torch.float64))


# The server


def server(folder: Path, **balance: Any) -> ParameterServer:
    return ParameterServer(
        initial_KICHW=np.zeros(SHAPE),
        mean=[0.5],
        std=[0.25],
        images=ImagesConfig(ipc=3),
        balance=BalanceConfig(**balance),
        loss_weights=LAMBDAS,
        main=MAIN,
        threads=1,
        checkpoints=CheckpointFolder.of_run(folder, ScheduleConfig()),
        identity={},
    )


def plan(version: int, members: tuple[int, ...]) -> StepPlan:
    return StepPlan(version, 0, version, members, (tuple(range(CLASSES)),), None, False, 0)


def one_step(made: ParameterServer, version: int, members: tuple[int, ...]) -> None:
    made.begin(version, members, ())
    gradients = gradients_of(made.images.images_KICHW.double(), members, version)
    parts = [
        Gradients(version, tuple(range(CLASSES)), gradient.numpy(), gradient_sizes(gradient), None, (1.0,) * CLASSES)
        for gradient in gradients
    ]
    made.balance_gradients(plan(version, members), *parts)
    made.apply(plan(version, members))


def test_a_restored_server_gives_the_same_bits(tmp_path: Path) -> None:
    whole = server(tmp_path, mode="ema", scope="run")
    for version, members in enumerate(DRAWS[:4]):
        one_step(whole, version, members)
    state = whole.state()
    for version, members in enumerate(DRAWS[4:], start=4):
        one_step(whole, version, members)
    for same in (True, False):  # other members take part from there on, which a lasting history does not mind
        restored = server(tmp_path, mode="ema", scope="run")
        restored.begin(4, DRAWS[4], ())
        restored.restore(state, same)
        for version, members in enumerate(DRAWS[4:], start=4):
            one_step(restored, version, members)
        assert torch.equal(restored.images.images_KICHW, whole.images.images_KICHW)


def test_a_history_of_an_iteration_starts_anew(tmp_path: Path) -> None:
    made = server(tmp_path, mode="ema")
    one_step(made, 0, (0, 1))
    made.begin(1, (1,), ())
    assert made.balance.history_KT.shape == (CLASSES, 1) and float(made.balance.history_KT.max()) <= 1e-6


@pytest.mark.parametrize("mode", ["none", "sum"])
def test_modes_that_cannot_last_are_refused(mode: str) -> None:
    with pytest.raises(ValidationError, match=f"scope is 'run', but mode '{mode}' .*: mode must be ema, last or max"):
        BalanceConfig.model_validate({"mode": mode, "scope": "run"})
