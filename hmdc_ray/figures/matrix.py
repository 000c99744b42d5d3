"""The cross-architecture matrix: which images teach which network."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hmdc_ray.evaluation.statistics import Summary
from hmdc_ray.figures.canvas import COLOURS, FAINT, TEXT, luminance, name_columns, names_height, new_figure, wrapped

CELL_WIDTH = 0.85
CELL_HEIGHT = 0.55
ROW_NAME = 20
LIGHT = 0.2
"""A cell of at least this luminance has dark numbers: about where both colours of text contrast
alike."""


def matrix(rows: Sequence[tuple[str, Mapping[str, Summary]]], marked: Collection[str], mark: str, *, title: str) -> Figure:
    """Draw a heat map with numbers.

    Each cell has the mean accuracy in % and, where there are several values, half its 95 %
    interval.

    Args:
        rows: name of the images, and by architecture what its students reached, in fractions. An
            architecture that a row lacks leaves its cell empty.
        marked: architectures that get a mark.
        mark: meaning of the mark, in words.
        title: title above the map; may have several lines.
    """
    names = list(dict.fromkeys(name for _, summaries in rows for name in summaries))
    assert names, rows
    figure = new_figure(max(4.2, 1.9 + CELL_WIDTH * len(names)), 0.6 + CELL_HEIGHT * len(rows) + names_height(names))
    axes = figure.add_subplot()
    values = np.full((len(rows), len(names)), np.nan)
    for place, (_, summaries) in enumerate(rows):
        for column, name in enumerate(names):
            if name in summaries:
                values[place, column] = 100 * summaries[name].mean
    axes.set_facecolor(FAINT)
    image = axes.imshow(values, cmap=COLOURS, aspect="auto")
    light = luminance(image.to_rgba(values)) > LIGHT
    for place, (_, summaries) in enumerate(rows):
        for column, name in enumerate(names):
            _write_cell(axes, column, place, summaries.get(name), bool(light[place, column]))
    name_columns(axes, names, marked, mark)
    axes.set_yticks(range(len(rows)), [wrapped(name, ROW_NAME) for name, _ in rows], color=TEXT)
    figure.suptitle(title, fontsize=10, color=TEXT)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for edge in range(1, len(names)):
        axes.axvline(edge - 0.5, color="white", linewidth=1.5)
    for edge in range(1, len(rows)):
        axes.axhline(edge - 0.5, color="white", linewidth=1.5)
    return figure


def _write_cell(axes: Axes, column: int, row: int, summary: Summary | None, light: bool) -> None:
    if summary is None:
        axes.text(column, row, "–", ha="center", va="center", color=TEXT)
        return
    colour = TEXT if light else "white"
    half = summary.half_interval
    mean = f"{100 * summary.mean:.1f}"
    if half is None:
        axes.text(column, row, mean, ha="center", va="center", color=colour, fontsize=11)
        return
    axes.text(column, row - 0.02, mean, ha="center", va="bottom", color=colour, fontsize=11)
    axes.text(column, row + 0.06, f"± {100 * half:.1f}", ha="center", va="top", color=colour, fontsize=8)
