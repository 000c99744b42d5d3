"""Schedulers stop what is worse at a rung and let the last rung be; searchers propose the same for
the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search import ConcurrencyLimiter

from hmdc_ray.search.algorithms import scheduler, searcher
from hmdc_ray.search.settings import FIDELITIES, SearchSettings
from hmdc_ray.search.trial import COST, FIDELITY, OBJECTIVE

DOMAINS = {"images.learning_rate": tune.loguniform(0.01, 1), "balance.mode": tune.choice(["none", "ema"])}


def decisions(settings: SearchSettings, accuracies: Sequence[Sequence[float]]) -> list[list[str]]:
    """What a scheduler says to each trial at each of its rungs, one trial after the other."""
    chosen: Any = scheduler(settings)
    said = []
    for number, values in enumerate(accuracies):
        trial: Any = SimpleNamespace(trial_id=str(number))
        chosen.on_trial_add(None, trial)
        said.append(
            [
                chosen.on_trial_result(None, trial, {FIDELITY: fidelity, OBJECTIVE: value})
                for fidelity, value in zip(FIDELITIES, values, strict=False)
            ]
        )
    return said


def test_asha_stops_what_is_worse_at_a_rung() -> None:
    go, stop = TrialScheduler.CONTINUE, TrialScheduler.STOP
    found = decisions(SearchSettings(space="smoke"), [(0.5, 0.6, 0.7), (0.4,), (0.6, 0.5), (0.7, 0.8, 0.9)])
    assert found == [[go, go, go], [stop], [go, stop], [go, go, go]]


def test_without_a_scheduler_nothing_is_stopped() -> None:
    found = decisions(SearchSettings(space="smoke", scheduler="none"), [(0.5, 0.6), (0.4, 0.1)])
    assert {word for words in found for word in words} == {TrialScheduler.CONTINUE}


def test_hyperband_has_a_bracket_for_every_rung() -> None:
    chosen = scheduler(SearchSettings(space="smoke", scheduler="hyperband"))
    assert isinstance(chosen, AsyncHyperBandScheduler)
    assert [sorted(milestone for milestone, _ in bracket._rungs) for bracket in chosen._brackets] == [[1, 3, 9], [3, 9], [9]]


def suggestions(settings: SearchSettings, seed: int) -> list[Any]:
    made: Any = searcher(settings, seed, concurrent=1)
    assert isinstance(made, ConcurrencyLimiter)
    made.set_search_properties(None, None, DOMAINS)
    found = []
    for number in range(4):
        found.append(made.suggest(str(number)))
        made.on_trial_complete(str(number), {OBJECTIVE: 0.1 * number, COST: 1.0, "training_iteration": 1})
    return found


@pytest.mark.parametrize("multi_objective", [False, True])
def test_optuna_proposes_the_same_for_the_same_seed(multi_objective: bool) -> None:
    settings = SearchSettings(space="smoke", scheduler="none", multi_objective=multi_objective)
    first = suggestions(settings, 2**40 + 1)
    assert first == suggestions(settings, 2**40 + 1)
    assert first != suggestions(settings, 2)
    assert all(set(sample) == set(DOMAINS) for sample in first)
