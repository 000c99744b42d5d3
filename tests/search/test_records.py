"""The best, the front, the file of trials and the importance of parameters, on trials made by hand."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

from ray import tune

from hmdc_ray.search.importance import comparable_fidelity, parameter_importance
from hmdc_ray.search.outcome import axes_of
from hmdc_ray.search.records import Axis, RungRecord, State, TrialRecord, best_of, front, write_trials

FIDELITIES = (1, 3, 9)


def rung(accuracy: float, seconds: float, fidelity: int, problem: str = "") -> RungRecord:
    return RungRecord(fidelity, fidelity, fidelity, accuracy, accuracy / 2, "mlp", {"mlp": accuracy}, seconds, problem)


def trial(number: int, state: State, *accuracies: float, seconds: float = 1.0, **sample: float) -> TrialRecord:
    rungs = tuple(rung(value, seconds, fidelity) for value, fidelity in zip(accuracies, FIDELITIES, strict=False))
    return TrialRecord(number, f"{number:04d}-x", state, dict(sample), {}, rungs)


def test_only_trials_at_the_last_rung_can_be_the_best() -> None:
    trials = [
        trial(1, "stopped", 0.9),
        trial(2, "finished", 0.1, 0.2, 0.5),
        trial(3, "finished", 0.1, 0.2, 0.7),
        trial(4, "finished", 0.1, 0.2, 0.7),
        trial(5, "failed"),
    ]
    best = best_of(trials)
    assert best is not None and best.number == 3
    assert best_of([trials[0], trials[4]]) is None


def test_the_front_has_no_trial_that_another_beats_in_both() -> None:
    cost = {1: (0.5, 2.0), 2: (0.6, 3.0), 3: (0.4, 1.0), 4: (0.55, 4.0), 5: (0.6, 3.5), 6: (0.4, 1.0)}
    trials = [trial(number, "finished", 0.0, 0.0, value, seconds=seconds) for number, (value, seconds) in cost.items()]
    trials.append(trial(7, "stopped", 0.99, seconds=0.1))
    assert [each.number for each in front(trials)] == [3, 1, 2]


def test_the_file_of_trials(tmp_path: Path) -> None:
    trials = [trial(1, "finished", 0.1, 0.2, 0.3, rate=0.5), trial(2, "failed")]
    write_trials(tmp_path / "trials.json", trials, trials[0], {"space": "own"}, {"rate": 1.0})
    found = json.loads((tmp_path / "trials.json").read_text())
    assert found["best"] == 1 and found["front"] == [1] and found["settings"] == {"space": "own"}
    assert [len(each["rungs"]) for each in found["trials"]] == [3, 0]
    assert found["trials"][0]["rungs"][-1]["accuracies"] == {"mlp": 0.3}


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


def test_axes_follow_the_domains() -> None:
    domains = {"a": tune.uniform(0, 1), "b": tune.loguniform(1, 10), "c": tune.choice(["x", "y"]), "d": tune.randint(0, 5)}
    assert axes_of(domains) == [Axis("a", "linear"), Axis("b", "log"), Axis("c", "choice", ("x", "y")), Axis("d", "linear")]
