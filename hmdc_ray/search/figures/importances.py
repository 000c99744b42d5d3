"""The importance of a search's parameters as bars."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from hmdc_ray.figures.canvas import FAINT, TEXT, colours, new_figure
from hmdc_ray.search.figures.parameters import label


def importances(importance: Mapping[str, float], fidelity_note: str) -> Figure:
    """Draw one bar per parameter, the most important on top.

    Args:
        importance: importances by path, at least one, with sum 1.
        fidelity_note: words for the title about the accuracies behind them.
    """
    ordered = sorted(importance.items(), key=lambda item: item[1])
    figure = new_figure(6.4, 0.26 * len(ordered) + 1.3)
    panel = figure.add_subplot()
    bars = panel.barh(
        [label(path) for path, _ in ordered], [100 * part for _, part in ordered], color=colours(2)[0], height=0.7, zorder=2
    )
    panel.bar_label(bars, fmt="%.0f", fontsize=8, color=TEXT, padding=2)
    panel.grid(axis="x", color=FAINT, linewidth=0.7, zorder=0)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(colors=TEXT, labelsize=8, length=0)
    panel.set_xlabel("importance, %", fontsize=8, color=TEXT)
    figure.suptitle(f"What the accuracy depends on (PED-ANOVA)\n{fidelity_note}", fontsize=10, color=TEXT)
    return figure
