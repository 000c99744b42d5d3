"""The optimisers without torch's compiler take torch's steps, and go on from a saved state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from hmdc_ray.models.optimisers import SGD, Adam


def stepped(kind: type[Optimizer], settings: dict[str, Any], saved_after: int | None = None) -> Tensor:
    weights = torch.linspace(-1, 1, 7, requires_grad=True)
    optimiser = kind([weights], **settings)
    for step in range(4):
        optimiser.zero_grad()
        (weights**3).sum().backward()
        optimiser.step()
        if step == saved_after:
            state = optimiser.state_dict()
            optimiser = kind([weights], **settings)
            optimiser.load_state_dict(state)
    return weights.detach()


@pytest.mark.parametrize(
    ("ours", "torchs", "settings"),
    [
        (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
        (Adam, torch.optim.Adam, {"lr": 0.1}),
    ],
)
def test_steps_are_torchs(ours: type[Optimizer], torchs: type[Optimizer], settings: dict[str, Any]) -> None:
    expected = stepped(torchs, settings)
    assert torch.equal(stepped(ours, settings), expected)
    assert torch.equal(stepped(ours, settings, saved_after=1), expected)
