"""The trials of a search in parallel coordinates (Inselberg, The Visual Computer 1985)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from hmdc_ray.figures.canvas import COLOURS, SLANT, TEXT, new_figure
from hmdc_ray.search.figures.parameters import judged, label, number
from hmdc_ray.search.records import Axis, TrialRecord

MARGIN = 0.06
"""Room above and below the values of an axis, as part of its length."""


def parallel_coordinates(trials: Sequence[TrialRecord], axes: Sequence[Axis], best: TrialRecord) -> Figure:
    """Draw each trial as a line over one vertical axis per parameter and a last one for its
    accuracy.

    The darker a line, the lower its accuracy; the best trial's is wide.

    Args:
        trials: trials of the search.
        axes: its parameters, at least one.
        best: best of the trials.
    """
    drawn = sorted(judged(trials), key=lambda trial: trial.last.accuracy)
    columns = [[number(axis, trial.sample[axis.path]) for trial in drawn] for axis in axes]
    accuracies = [100 * trial.last.accuracy for trial in drawn]
    scaled = np.array([_scaled(values) for values in (*columns, accuracies)])
    figure = new_figure(max(6.0, 0.95 * (len(axes) + 1) + 1.2), 4.6)
    panel = figure.add_subplot()
    shade = Normalize(min(accuracies), max(accuracies))
    for index, trial in enumerate(drawn):
        wide = trial.number == best.number
        panel.plot(
            range(len(scaled)),
            scaled[:, index],
            color=COLOURS(0.95 * float(shade(accuracies[index]))),
            linewidth=3.0 if wide else 1.1,
            alpha=1.0 if wide else 0.8,
            zorder=3 if wide else 2,
        )
    for place, axis in enumerate(axes):
        _ticks(panel, place, columns[place], axis)
    _ticks(panel, len(axes), accuracies, Axis("accuracy, %", "linear"))
    names = [label(axis.path) for axis in axes] + ["accuracy, %"]
    panel.set_xticks(range(len(names)), names, rotation=SLANT, ha="right", rotation_mode="anchor", fontsize=8, color=TEXT)
    panel.set_yticks([])
    panel.set_xlim(-0.3, len(axes) + 0.5)
    panel.spines[["top", "right", "left", "bottom"]].set_visible(False)
    figure.colorbar(ScalarMappable(shade, COLOURS), ax=panel, label="accuracy on validation data, %", fraction=0.03)
    figure.suptitle("Trials of the search; the wide line is the best that reached the last rung", fontsize=10, color=TEXT)
    return figure


def _scaled(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    if high == low:
        return [0.5] * len(values)
    return [MARGIN + (1 - 2 * MARGIN) * (value - low) / (high - low) for value in values]


def _ticks(panel: Axes, place: int, values: Sequence[float], axis: Axis) -> None:
    """A vertical line with the ends of the range beside it, or every choice that occurs."""
    panel.axvline(place, color=TEXT, linewidth=0.8, zorder=1)
    shown = sorted(set(values)) if axis.scale == "choice" else sorted({min(values), max(values)})
    heights = dict(zip(values, _scaled(values), strict=True))
    for value in shown:
        if axis.scale == "choice":
            text = str(axis.choices[int(value)])
        else:
            text = f"{10**value:.2g}" if axis.scale == "log" else f"{value:.3g}"
        shown_text = panel.text(place + 0.06, heights[value], text, fontsize=7, color=TEXT, va="center", zorder=5)
        shown_text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
