"""Gains per architecture as bars with intervals (HMDC, arXiv 2409.14538, figure 1)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from matplotlib.figure import Figure

from hmdc_ray.evaluation.statistics import Summary, summarise_values
from hmdc_ray.figures.canvas import CHARACTER, FAINT, TEXT, colours, name_columns, names_height, new_figure, room, shortened

GROUP = 0.8
"""Part of an architecture's place that its bars fill."""


def gain(values: Summary, base: Summary) -> Summary:
    """The gain of one measurement over another, in fractions.

    Where both have the same number of values these are paired, for they belong to the same seeds,
    and the interval is that of the differences; otherwise there is only the difference of the
    means.
    """
    if len(values.values) == len(base.values):
        return summarise_values([value - other for value, other in zip(values.values, base.values, strict=True)])
    return summarise_values([values.mean - base.mean])


def bars(
    series: Sequence[tuple[str, Mapping[str, Summary]]], marked: Collection[str], mark: str, *, title: str, axis: str
) -> Figure:
    """Draw one group of bars per architecture, one bar in it per series, each with its 95 %
    interval where it has one.

    Args:
        series: name and, by architecture, gains in fractions, which are shown in points; an absent
            architecture gets no bar.
        marked: architectures that get a mark.
        mark: meaning of the mark, in words.
        title: title above the bars; may have several lines.
        axis: label of the axis: the quantity that the bars show.
    """
    names = list(dict.fromkeys(name for _, gains in series for name in gains))
    assert names, series
    place_width = max(0.75, 0.22 * len(series))
    page_width = max(5.0, 1.2 + place_width * len(names))
    labels = [shortened(label) for label, _ in series]
    legend_columns = min(len(series), max(1, int(page_width / (0.7 + CHARACTER * max(map(room, labels))))))
    legend_height = 0.22 * math.ceil(len(series) / legend_columns)
    figure = new_figure(page_width, 3.1 + legend_height + names_height(names))
    axes = figure.add_subplot()
    width = GROUP / len(series)
    for index, (label, (_, gains), colour) in enumerate(zip(labels, series, colours(len(series)), strict=True)):
        shown = [(place, gains[name]) for place, name in enumerate(names) if name in gains]
        centres = [place + (index - (len(series) - 1) / 2) * width for place, _ in shown]
        heights = [100 * summary.mean for _, summary in shown]
        halves = [math.nan if summary.half_interval is None else 100 * summary.half_interval for _, summary in shown]
        axes.bar(centres, heights, width, color=colour, edgecolor="white", linewidth=0.8, label=label, zorder=2)
        for ink, line in (("white", 3.0), (TEXT, 1.0)):  # a white edge, to be seen on dark bars
            axes.errorbar(
                centres, heights, halves, fmt="none", ecolor=ink, elinewidth=line, capthick=line, capsize=2.5, zorder=3
            )
    axes.axhline(0, color=TEXT, linewidth=1, zorder=4)
    axes.grid(axis="y", color=FAINT, linewidth=0.7, zorder=0)
    axes.set_xlim(-0.6, len(names) - 0.4)
    name_columns(axes, names, marked, mark)
    axes.set_ylabel(axis, color=TEXT)
    figure.suptitle(title, fontsize=10, color=TEXT)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    figure.legend(loc="outside lower center", ncols=legend_columns, frameon=False, fontsize=9)
    return figure
