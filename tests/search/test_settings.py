"""Settings that contradict each other are refused; the rungs of a run lie at a ninth, a third and
the whole."""

from __future__ import annotations

from typing import Any

import pytest

from hmdc_ray.config import ScheduleConfig
from hmdc_ray.errors import InputError
from hmdc_ray.search.settings import SearchSettings, rungs


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scheduler": "ahsa"}, "--scheduler is 'ahsa', which does not exist: did you mean 'asha'"),
        ({"search": "grid"}, "--search is 'grid', which does not exist: known: optuna, random"),
        ({"trials": 0}, "--trials is 0: must be at least 1"),
        ({"concurrent": -1}, "--concurrent is -1: must be at least 1"),
        ({"multi_objective": True}, "--multi-objective needs --scheduler none, but --scheduler is 'asha'"),
        ({"multi_objective": True, "scheduler": "none", "search": "random"}, "--multi-objective needs --search optuna"),
    ],
)
def test_bad_settings_are_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as told:
        SearchSettings(space="smoke", **fields).check()
    assert str(told.value).startswith(message)


def test_good_settings_pass() -> None:
    SearchSettings(space="smoke").check()
    SearchSettings(space="smoke", scheduler="none", multi_objective=True, concurrent=2).check()


@pytest.mark.parametrize(
    ("iterations", "steps", "expected"),
    [
        (24, 1, [(3, 1), (8, 3), (24, 9)]),
        (9, 10, [(10, 1), (30, 3), (90, 9)]),
        (5, 1, [(1, 1), (2, 3), (5, 9)]),
        (2, 3, [(3, 3), (6, 9)]),
        (1, 4, [(4, 9)]),
    ],
)
def test_rungs(iterations: int, steps: int, expected: list[tuple[int, int]]) -> None:
    found = rungs(ScheduleConfig(iterations=iterations, steps=steps))
    assert [(rung.version, rung.fidelity) for rung in found] == expected
