"""The magnitude of every target's gradient over a run, before and after balancing (HMDC, arXiv
2409.14538, figure 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from hmdc_ray.errors import InputError
from hmdc_ray.figures.canvas import FAINT, TEXT, colours, new_figure, shortened
from hmdc_ray.system.files import read_json_lines

LARGEST = "gradient/largest_"
WEIGHT = "gbm/weight_"
POINTS = 150
"""Most places on the axis of steps, to which a longer run is thinned."""

DASHES = ("-", "--", "-.", ":")
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Magnitudes:
    """Largest gradient entries by target; arrays are (steps,), from step 1, NaN where a target had
    no gradient.

    Attributes:
        before: mean over the classes of the largest absolute entry.
        after: product of ``before`` and the mean weight of the balance, relative to the main
            member.
    """

    before: Mapping[str, Values]
    after: Mapping[str, Values]


def read_magnitudes(metrics_path: Path) -> Magnitudes:
    """Read a run's metrics. Where a step was recorded twice, because the run was resumed, the last
    record counts.

    Raises:
        InputError: the file cannot be read, or is not that of a run with gradients.
    """
    records = {_step(record, metrics_path): record for record in read_json_lines(metrics_path)}
    targets = list(
        dict.fromkeys(name.removeprefix(LARGEST) for record in records.values() for name in record if name.startswith(LARGEST))
    )
    if not targets:
        raise InputError(f"{metrics_path} holds no '{LARGEST}NAME': must be the metrics.jsonl of a run that made a step")
    before, after = ({target: np.full(max(records), np.nan) for target in targets} for _ in range(2))
    for step, record in records.items():
        for target in targets:
            largest = _positive(record, LARGEST + target)
            before[target][step - 1] = largest
            after[target][step - 1] = largest * _positive(record, WEIGHT + target)
    return Magnitudes(before, after)


def gradient_magnitudes(metrics_path: Path) -> Figure:
    """Draw the largest gradient entry of every target over the steps, in two panels with one
    logarithmic axis.

    A long run is thinned: a line is the median of neighbouring steps, the band around it their
    range. Steps in which a target was not drawn, or was left out, are gaps.

    Args:
        metrics_path: a run's ``metrics.jsonl``.

    Raises:
        InputError: the file cannot be read, or is not that of a run with gradients.
    """
    magnitudes = read_magnitudes(metrics_path)
    figure = new_figure(9.0, 3.8)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, title, series in (
        (left, "before balancing", magnitudes.before),
        (right, "after balancing", magnitudes.after),
    ):
        lines = [
            _draw(axes, values, colour, DASHES[index % len(DASHES)])
            for index, (colour, values) in enumerate(zip(colours(len(series)), series.values(), strict=True))
        ]
        axes.set_yscale("log")
        axes.set_xlabel("step", color=TEXT)
        axes.set_title(title, fontsize=10, color=TEXT)
        axes.grid(color=FAINT, linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("largest entry of the image gradient", color=TEXT)
    figure.legend(lines, [shortened(name) for name in magnitudes.before], loc="outside right upper", frameon=False)
    return figure


def thin(values: Values) -> tuple[Values, Values, Values, Values]:
    """At most POINTS places along the steps.

    Args:
        values: magnitudes (steps,), with NaN for gaps.

    Returns:
        Steps in the middle of each place, and the median, least and greatest of its values: four
        arrays of (places,), NaN where a place has no value.
    """
    size = math.ceil(len(values) / POINTS)
    thinned = np.full((4, math.ceil(len(values) / size)), np.nan)
    for place, start in enumerate(range(0, len(values), size)):
        group = values[start : start + size]
        thinned[0, place] = start + (len(group) + 1) / 2
        present = group[np.isfinite(group)]
        if len(present):
            thinned[1:, place] = np.median(present), present.min(), present.max()
    return thinned[0], thinned[1], thinned[2], thinned[3]


def _draw(axes: Axes, values: Values, colour: tuple[float, float, float, float], dashes: str) -> Line2D:
    steps, median, least, greatest = thin(values)
    seen = np.isfinite(median)
    beside = np.concatenate([[False], seen, [False]])
    alone = np.flatnonzero(seen & ~beside[:-2] & ~beside[2:])  # no line reaches a point between two gaps
    (line,) = axes.plot(steps, median, color=colour, linestyle=dashes, linewidth=1.3)
    axes.plot(steps[alone], median[alone], color=colour, linestyle="none", marker="o", markersize=2.5)
    if len(steps) < len(values):
        axes.fill_between(steps, least, greatest, color=colour, alpha=0.18, linewidth=0)
    return line


def _step(record: Mapping[str, Any], path: Path) -> int:
    step = record.get("step")
    if not isinstance(step, int) or step < 1:
        raise InputError(f"{path} has a record of step {step!r}: must be a whole number from 1, as in a run's metrics.jsonl")
    return step


def _positive(record: Mapping[str, Any], name: str) -> float:
    """A value that a logarithmic axis can show, else NaN: a target that was left out everywhere is
    recorded as 0."""
    value = record.get(name)
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else math.nan
