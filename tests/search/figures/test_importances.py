"""Importances as bars."""

from __future__ import annotations

import pytest
from matplotlib.patches import Rectangle

from hmdc_ray.search.figures.importances import importances


def test_the_most_important_parameter_is_on_top() -> None:
    figure = importances({"pool.active": 0.3, "balance.mode": 0.7}, "rung 1 of 3")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["active", "balance.mode"]
    bars = [bar for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    assert [bar.get_width() for bar in bars] == pytest.approx([30, 70])
