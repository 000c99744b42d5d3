"""Which figures of a search are written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hmdc_ray.search.figures.searched import search_figures
from hmdc_ray.search.records import Axis, TrialRecord


def test_all_figures_are_written(tmp_path: Path, trials: list[TrialRecord], axes: list[Axis]) -> None:
    found = search_figures(tmp_path, trials, axes, trials[3], {"pool.active": 0.7, "balance.mode": 0.3}, "rung 1")
    names = ["parameters.png", "parallel.png", "seconds.png", "importance.png", "simplex.png"]
    assert [path.name for path in found] == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in found)


def test_what_is_not_known_is_not_drawn(tmp_path: Path, trials: list[TrialRecord], axes: list[Axis]) -> None:
    made = [replace(trial, probabilities={}) for trial in trials[:4]]
    found = search_figures(tmp_path, made, axes, made[3], {}, "")
    assert [path.name for path in found] == ["parameters.png", "parallel.png", "seconds.png"]
