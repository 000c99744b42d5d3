"""Probabilities of a pool of three members as points of a triangle."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from hmdc_ray.figures.canvas import COLOURS, FAINT, TEXT, new_figure, shortened
from hmdc_ray.search.figures.parameters import judged
from hmdc_ray.search.records import TrialRecord

HEIGHT = math.sqrt(3) / 2
CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.5, HEIGHT))
UNIFORM = (1 / 3, 1 / 3, 1 / 3)


def simplex(trials: Sequence[TrialRecord], best: TrialRecord) -> Figure:
    """Draw each trial at its probabilities, shaded by its accuracy; a corner is a pool of one
    member alone.

    Args:
        trials: trials of a search whose base has three members.
        best: trial that is marked by a star.
    """
    drawn = sorted(judged(trials), key=lambda trial: trial.last.accuracy)
    figure = new_figure(5.4, 4.8)
    panel = figure.add_subplot()
    _triangle(panel, list(best.probabilities))
    points = [_place(list(trial.probabilities.values())) for trial in drawn]
    accuracies = [100 * trial.last.accuracy for trial in drawn]
    shade = Normalize(min(accuracies), max(accuracies))
    panel.scatter(
        [x for x, _ in points],
        [y for _, y in points],
        c=accuracies,
        cmap=COLOURS,
        norm=shade,
        s=34,
        edgecolors=TEXT,
        linewidths=0.5,
    )
    x, y = _place(list(best.probabilities.values()))
    shown = COLOURS(float(shade(100 * best.last.accuracy)))
    panel.scatter([x], [y], marker="*", s=190, color=shown, edgecolors=TEXT, linewidths=0.9, label="best", zorder=4)
    x, y = _place(UNIFORM)
    panel.scatter([x], [y], marker="+", s=70, color=TEXT, linewidths=1.2, label="equal probabilities", zorder=1)
    figure.colorbar(ScalarMappable(shade, COLOURS), ax=panel, label="accuracy on validation data, %", fraction=0.04)
    figure.suptitle("How often each member takes part", fontsize=10, color=TEXT)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _place(probabilities: Sequence[float]) -> tuple[float, float]:
    x = sum(part * corner[0] for part, corner in zip(probabilities, CORNERS, strict=True))
    y = sum(part * corner[1] for part, corner in zip(probabilities, CORNERS, strict=True))
    return x, y


def _triangle(panel: Axes, names: Sequence[str]) -> None:
    """The frame, lines at every quarter of each probability, and the members' names at their
    corners."""
    panel.plot(*zip(*CORNERS, CORNERS[0], strict=True), color=TEXT, linewidth=1.0, zorder=2)
    for quarter in (0.25, 0.5, 0.75):
        rest = 1 - quarter
        for ends in (
            ((quarter, rest, 0), (quarter, 0, rest)),
            ((rest, quarter, 0), (0, quarter, rest)),
            ((rest, 0, quarter), (0, rest, quarter)),
        ):
            panel.plot(*zip(*map(_place, ends), strict=True), color=FAINT, linewidth=0.7, zorder=0)
    for name, (x, y) in zip(names, CORNERS, strict=True):
        panel.text(
            x, y + (0.04 if y else -0.04), shortened(name), ha="center", va="bottom" if y else "top", color=TEXT, fontsize=9
        )
    panel.set_aspect("equal")
    panel.set_xlim(-0.12, 1.12)
    panel.set_ylim(-0.12, HEIGHT + 0.12)
    panel.axis("off")
