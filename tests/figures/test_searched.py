"""The figures of a search: which are written, and what they show."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from hmdc_ray.search.figures.importances import importances
from hmdc_ray.search.figures.parallel import parallel_coordinates
from hmdc_ray.search.figures.parameters import label
from hmdc_ray.search.figures.searched import search_figures
from hmdc_ray.search.figures.simplex import simplex
from hmdc_ray.search.figures.slices import slices
from hmdc_ray.search.records import Axis, RungRecord, TrialRecord

AXES = [Axis("images.learning_rate", "log"), Axis("balance.mode", "choice", ("none", "ema")), Axis("pool.active", "linear")]
POINTS = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.2, 0.3, 0.5)]


def trials() -> list[TrialRecord]:
    made = []
    for number, point in enumerate(POINTS, start=1):
        rungs = tuple(
            RungRecord(f, f, f, 0.1 * number, 0.05, "mlp", {}, 2.0 * number) for f in (1, 3, 9)[: 1 + 2 * (number > 2)]
        )
        sample = {"images.learning_rate": 10.0**-number, "balance.mode": ["none", "ema"][number % 2], "pool.active": number}
        probabilities = dict(zip(("a", "b", "c"), point, strict=True))
        made.append(TrialRecord(number, "x", "finished" if number > 2 else "stopped", sample, probabilities, rungs))
    made.append(TrialRecord(5, "y", "failed", made[0].sample, {}, (), "died"))
    return made


def test_all_figures_are_written(tmp_path: Path) -> None:
    found = search_figures(tmp_path, trials(), AXES, trials()[3], {"pool.active": 0.7, "balance.mode": 0.3}, "rung 1")
    names = ["parameters.png", "parallel.png", "seconds.png", "importance.png", "simplex.png"]
    assert [path.name for path in found] == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in found)


def test_what_is_not_known_is_not_drawn(tmp_path: Path) -> None:
    made = [TrialRecord(t.number, t.name, t.state, t.sample, {}, t.rungs) for t in trials()]
    found = search_figures(tmp_path, made, AXES, made[3], {}, "")
    assert [path.name for path in found] == ["parameters.png", "parallel.png", "seconds.png"]


def test_slices_show_every_judged_trial_at_its_value() -> None:
    figure = slices(trials(), AXES, trials()[3])
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == 3
    points = sorted(tuple(point) for marks in panels[0].collections for point in np.asarray(marks.get_offsets()).tolist())
    expected = [(-float(number), 10.0 * number) for number in (1, 2, 3, 4)] + [(-4.0, 40.0)]  # and the star
    assert points == [pytest.approx(point) for point in sorted(expected)]
    assert [text.get_text() for text in panels[1].get_xticklabels()] == ["none", "ema"]


def test_parallel_coordinates_end_at_the_accuracy() -> None:
    figure = parallel_coordinates(trials(), AXES, trials()[3])
    lines = [line for line in figure.axes[0].lines if len(np.asarray(line.get_xdata())) == 4]
    ends = [float(np.asarray(line.get_ydata())[-1]) for line in lines]
    assert len(lines) == 4 and ends == sorted(ends)
    assert max(line.get_linewidth() for line in lines) == lines[-1].get_linewidth()


def test_a_member_alone_is_a_corner_of_the_simplex() -> None:
    figure = simplex(trials(), trials()[3])
    places = [tuple(point) for point in np.asarray(figure.axes[0].collections[0].get_offsets()).tolist()]
    corners = [(0.0, 0.0), (1.0, 0.0), (0.5, math.sqrt(3) / 2)]
    assert places[:3] == [pytest.approx(corner) for corner in corners]
    assert {text.get_text() for text in figure.axes[0].texts} == {"a", "b", "c"}


def test_the_most_important_parameter_is_on_top() -> None:
    figure = importances({"pool.active": 0.3, "balance.mode": 0.7}, "rung 1 of 3")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["active", "balance.mode"]
    bars = [bar for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    assert [bar.get_width() for bar in bars] == pytest.approx([30, 70])


def test_labels() -> None:
    assert label("pool.members.vit.probability") == "vit.probability (coordinate)"
    assert label("pool.members.vit") == "vit in or out"
    assert label("pool.active") == "active"
    assert label("images.learning_rate") == "images.learning_rate"
