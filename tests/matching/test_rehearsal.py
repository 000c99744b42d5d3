"""Steps are tried before anything starts; what cannot be done is said, and nothing remains of the
trial."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from hmdc_ray.errors import InputError
from hmdc_ray.matching.rehearsal import rehearse_matching, rehearse_training
from hmdc_ray.models import Architecture, ImageShape, Network, TapSpec


def network(*layers: nn.Module, taps: tuple[TapSpec, ...] = ()) -> Network:
    """Grey images of 4x4 pixels are flattened before the layers; the last layer gives logits of
    three classes."""
    return Network(Architecture(nn.Sequential(nn.Flatten(), *layers), taps), ImageShape(1, 4, 4), 3)


def test_a_layer_without_a_second_derivative_can_be_trained_alone() -> None:
    hard = network(nn.Linear(16, 3), nn.Hardsigmoid())
    rehearse_training(hard, 2)
    with pytest.raises(InputError, match=r"has no second derivative \(derivative for aten::hardsigmoid.*layers, or use"):
        rehearse_matching(hard)


def test_frozen_networks_are_refused() -> None:
    frozen = network(nn.Linear(16, 3).requires_grad_(False))
    for rehearse in (partial(rehearse_training, frozen, 2), partial(rehearse_matching, frozen)):
        with pytest.raises(InputError, match="has no parameter to train, it needs at least one"):
            rehearse()


def test_a_single_image_can_be_matched_where_it_cannot_be_trained_on() -> None:
    normalised = network(nn.BatchNorm1d(16), nn.Linear(16, 3))
    rehearse_matching(normalised)
    rehearse_training(normalised, 2)
    with pytest.raises(InputError, match=r"fails in training mode on 1 image of 1x4x4 .*see schedule.batch"):
        rehearse_training(normalised, 1)


def test_nothing_remains_of_a_trial() -> None:
    tried = network(nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3), taps=(TapSpec("2", "vector"),)).eval()
    before, drawn = {name: value.clone() for name, value in tried.state_dict().items()}, torch.get_rng_state()
    rehearse_training(tried, 2, observed=True)
    rehearse_matching(tried, observed=True)
    assert all(torch.equal(value, before[name]) for name, value in tried.state_dict().items())
    assert not any(part.training for part in tried.modules()) and torch.equal(drawn, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in tried.parameters())
