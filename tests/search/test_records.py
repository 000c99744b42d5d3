"""The best, the front, the file of trials and the importance of parameters, on trials made by
hand."""

from __future__ import annotations

import json
from pathlib import Path

from hmdc_ray.search.records import best_of, front, write_trials

from .conftest import trial


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
