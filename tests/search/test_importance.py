"""The importance of parameters, on trials made by hand."""

from __future__ import annotations

import math
import random

from ray import tune

from hmdc_ray.search.importance import comparable_fidelity, parameter_importance

from .conftest import trial


def test_importance_finds_the_parameter_that_matters() -> None:
    generator = random.Random(0)
    trials = []
    for number in range(1, 41):
        sample = {"rate": 10 ** generator.uniform(-3, 0), "weight": generator.random()}
        trials.append(trial(number, "stopped", math.log10(sample["rate"]) + 0.01 * generator.random(), **sample))
    domains = {"rate": tune.loguniform(1e-3, 1), "weight": tune.uniform(0, 1)}
    importance = parameter_importance(trials, domains)
    assert list(importance) == ["rate", "weight"]
    assert importance["rate"] > 0.8
    assert math.isclose(sum(importance.values()), 1)


def test_importance_compares_at_the_highest_rung_of_half_the_trials() -> None:
    trials = [trial(1, "finished", 0.1, 0.2, 0.3), *[trial(number, "stopped", 0.1, 0.2) for number in (2, 3, 4)]]
    assert comparable_fidelity(trials) == 3
    trials += [trial(number, "stopped", 0.1) for number in range(5, 10)]
    assert comparable_fidelity(trials) == 1
    assert comparable_fidelity(trials[:3]) is None
    assert parameter_importance(trials[:3], {"rate": tune.uniform(0, 1)}) == {}
