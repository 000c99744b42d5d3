"""Probabilities as points of a triangle."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hmdc_ray.search.figures.simplex import simplex
from hmdc_ray.search.records import TrialRecord


def test_a_member_alone_is_a_corner_of_the_simplex(trials: list[TrialRecord]) -> None:
    figure = simplex(trials, trials[3])
    places = [tuple(point) for point in np.asarray(figure.axes[0].collections[0].get_offsets()).tolist()]
    corners = [(0.0, 0.0), (1.0, 0.0), (0.5, math.sqrt(3) / 2)]
    assert places[:3] == [pytest.approx(corner) for corner in corners]
    assert {text.get_text() for text in figure.axes[0].texts} == {"a", "b", "c"}
