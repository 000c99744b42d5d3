"""Trials as lines over parallel axes."""

from __future__ import annotations

import numpy as np

from hmdc_ray.search.figures.parallel import parallel_coordinates
from hmdc_ray.search.records import Axis, TrialRecord


def test_parallel_coordinates_end_at_the_accuracy(trials: list[TrialRecord], axes: list[Axis]) -> None:
    figure = parallel_coordinates(trials, axes, trials[3])
    lines = [line for line in figure.axes[0].lines if len(np.asarray(line.get_xdata())) == 4]
    ends = [float(np.asarray(line.get_ydata())[-1]) for line in lines]
    assert len(lines) == 4 and ends == sorted(ends)
    assert max(line.get_linewidth() for line in lines) == lines[-1].get_linewidth()
