"""Accuracy of the trials of a search against each parameter, and against seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hmdc_ray.figures.canvas import COLOURS, TEXT, colours, new_figure
from hmdc_ray.search.figures.parameters import jitter, judged, label, number, plain
from hmdc_ray.search.records import Axis, TrialRecord

COLUMNS = 4
NAMES = {"finished": "reached the last rung", "stopped": "stopped before"}


def slices(trials: Sequence[TrialRecord], axes: Sequence[Axis], best: TrialRecord) -> Figure:
    """Draw one small panel per parameter: each trial's accuracy at its last rung against the
    parameter's value.

    Args:
        trials: trials of the search.
        axes: its parameters, at least one.
        best: trial that is marked by a star.
    """
    drawn = judged(trials)
    columns = min(COLUMNS, len(axes))
    rows = math.ceil(len(axes) / columns)
    figure = new_figure(2.6 * columns + 0.6, 2.2 * rows + 0.9)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten().tolist()
    for panel, axis in zip(panels, axes, strict=False):
        _panel(panel, drawn, axis, best)
    for panel in panels[len(axes) :]:
        panel.set_visible(False)
    for row in range(rows):
        panels[row * columns].set_ylabel("accuracy, %", fontsize=8, color=TEXT)
    figure.suptitle("Accuracy on validation data against each parameter", fontsize=10, color=TEXT)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def accuracy_against_seconds(trials: Sequence[TrialRecord], front: Sequence[TrialRecord], best: TrialRecord) -> Figure:
    """Draw accuracy against seconds of condensing, with the trials that no other beats in both
    joined by a line."""
    figure = new_figure(5.6, 4.0)
    panel = figure.add_subplot()
    drawn = judged(trials)
    _scatter(panel, drawn, [trial.last.seconds for trial in drawn], best)
    edge = [trial.last for trial in front]
    seconds, accuracies = [rung.seconds for rung in edge], [100 * rung.accuracy for rung in edge]
    panel.plot(seconds, accuracies, color=TEXT, linewidth=0.8, drawstyle="steps-post", zorder=2, label="best for its seconds")
    plain(panel)
    panel.set_xlabel("seconds of condensing", fontsize=8, color=TEXT)
    panel.set_ylabel("accuracy, %", fontsize=8, color=TEXT)
    figure.suptitle("Accuracy on validation data against cost", fontsize=10, color=TEXT)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _panel(panel: Axes, trials: Sequence[TrialRecord], axis: Axis, best: TrialRecord) -> None:
    values = [number(axis, trial.sample[axis.path]) for trial in trials]
    if axis.scale == "choice":
        values = [value + offset for value, offset in zip(values, jitter(len(trials)), strict=True)]
        panel.set_xticks(range(len(axis.choices)), [str(choice) for choice in axis.choices])
        panel.set_xlim(-0.5, len(axis.choices) - 0.5)
    else:
        whole = axis.scale == "linear" and all(value.is_integer() for value in values)
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=whole))
        if axis.scale == "log":
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{10**value:.2g}"))
    _scatter(panel, trials, values, best)
    plain(panel)
    panel.set_xlabel(label(axis.path), fontsize=8, color=TEXT)


def _scatter(panel: Axes, trials: Sequence[TrialRecord], values: Sequence[float], best: TrialRecord) -> None:
    for (state, name), colour in zip(NAMES.items(), colours(2), strict=True):
        points = [(value, trial) for value, trial in zip(values, trials, strict=True) if trial.state == state]
        panel.scatter(
            [value for value, _ in points],
            [100 * trial.last.accuracy for _, trial in points],
            s=16,
            color=colour if state == "finished" else "none",
            edgecolors=colour,
            linewidths=0.9,
            label=name,
            zorder=3,
        )
    place = next(value for value, trial in zip(values, trials, strict=True) if trial.number == best.number)
    star = panel.scatter([place], [100 * best.last.accuracy], marker="*", s=120, color=COLOURS(0.95), label="best", zorder=4)
    star.set(edgecolors=TEXT, linewidths=0.7)
