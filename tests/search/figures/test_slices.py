"""Accuracies against a parameter's values."""

from __future__ import annotations

import numpy as np
import pytest

from hmdc_ray.search.figures.slices import slices
from hmdc_ray.search.records import Axis, TrialRecord


def test_slices_show_every_judged_trial_at_its_value(trials: list[TrialRecord], axes: list[Axis]) -> None:
    figure = slices(trials, axes, trials[3])
    panels = [panel for panel in figure.axes if panel.get_visible()]
    assert len(panels) == 3
    points = sorted(tuple(point) for marks in panels[0].collections for point in np.asarray(marks.get_offsets()).tolist())
    expected = [(-float(number), 10.0 * number) for number in (1, 2, 3, 4)] + [(-4.0, 40.0)]  # and the star
    assert points == [pytest.approx(point) for point in sorted(expected)]
    assert [text.get_text() for text in panels[1].get_xticklabels()] == ["none", "ema"]
