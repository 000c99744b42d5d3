"""One network's training, in one worker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.errors import RunError
from hmdc_ray.pretrain.batches import Group
from hmdc_ray.pretrain.training import Training

from .conftest import planned


def losses(config: RunConfig, **changes: Any) -> list[float]:
    """Losses of an MLP's training whose recipe is changed."""
    plan = planned(config, "mlp")
    recipe, dataset = replace(plan.recipes[0], **changes), open_dataset(config.data)
    training = Training(plan.networks[0], recipe, dataset, config.seed, Group(), torch.device("cpu"))
    while training.epoch < training.epochs:
        training.train_epoch(training.parallel())
    return training.losses


def test_a_falling_rate_forgets_momentum_where_the_recipe_says_so(config: RunConfig) -> None:
    (fall,) = replace(planned(config, "mlp").recipes[0], epochs=8).falls
    curves = [losses(config, epochs=8, **changes) for changes in ({"milestones": ()}, {}, {"fresh_optimiser": False})]
    assert [len(curve) for curve in curves] == [9, 9, 9]  # one step an epoch
    assert len({tuple(curve[: fall + 1]) for curve in curves}) == 1  # the lower rate acts after this epoch's loss
    assert len({tuple(curve[fall + 1 :]) for curve in curves}) == 3


def test_a_training_that_diverges_says_so(config: RunConfig) -> None:
    with pytest.raises(RunError, match=r"network 'mlp': the loss is not finite in epoch \d; .* learning rate 1e\+30"):
        losses(config, learning_rate=1e30)
