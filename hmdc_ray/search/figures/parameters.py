"""Helpers of a search's figures: parameters as numbers, and their names."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from hmdc_ray.figures.canvas import FAINT, TEXT, shortened
from hmdc_ray.search.records import Axis, TrialRecord

COORDINATE = ".probability"
"""Ending of the path of a parameter that is a coordinate of the simplex, not the probability
itself."""


def label(path: str) -> str:
    """A parameter's name on one line."""
    name = path.removeprefix("pool.members.")
    if name != path and "." not in name:
        return shortened(f"{name} in or out")
    name = name.removeprefix("pool.")
    return shortened(f"{name} (coordinate)" if path.endswith(COORDINATE) else name)


def number(axis: Axis, value: object) -> float:
    """The position of a value on its axis: its logarithm, the number of its choice, or the value
    itself."""
    if axis.scale == "choice":
        return float(axis.choices.index(value))
    assert isinstance(value, int | float), (axis, value)
    return math.log10(value) if axis.scale == "log" else float(value)


def jitter(count: int) -> list[float]:
    """Offsets in [-0.2, 0.2] that keep points of one choice apart: the golden ratio's multiples,
    the same every time."""
    return [0.4 * ((index * 0.6180339887) % 1.0) - 0.2 for index in range(count)]


def judged(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Trials with an accuracy to draw."""
    return [trial for trial in trials if trial.rungs and not trial.rungs[-1].problem]


def plain(axes: Axes) -> None:
    """Draw faint horizontal lines, and no frame above and on the right."""
    axes.grid(axis="y", color=FAINT, linewidth=0.7, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=TEXT, labelsize=8)
