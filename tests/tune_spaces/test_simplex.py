"""Stick breaking: uniform coordinates give the Dirichlet distribution; every coordinate gives a
point of the simplex."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, kstest

from tune_spaces.simplex import dirichlet


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=30))
def test_every_coordinate_gives_a_point_of_the_simplex(coordinates: list[float]) -> None:
    point = dirichlet(coordinates)
    assert len(point) == len(coordinates) + 1
    assert min(point) >= 0
    assert sum(point) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("concentration", [(1.0, 1.0, 1.0, 1.0), (0.5, 2.0, 1.0, 4.0)])
def test_uniform_coordinates_give_the_dirichlet_distribution(concentration: tuple[float, ...]) -> None:
    """Each entry of a Dirichlet point has a Beta distribution; independent draws tell a wrong one
    at 1 in 1,000."""
    uniform = np.random.default_rng(0).random((3000, 3))
    points = np.array([dirichlet(row.tolist(), concentration) for row in uniform])
    for entry, alpha in enumerate(concentration):
        rest = sum(concentration) - alpha
        assert kstest(points[:, entry], beta(alpha, rest).cdf).pvalue > 1e-3
    mean = np.array(concentration) / sum(concentration)
    covariance = (np.diag(mean) - np.outer(mean, mean)) / (sum(concentration) + 1)
    np.testing.assert_allclose(np.cov(points.T), covariance, atol=5e-3)


def test_two_entries_are_the_coordinate_and_the_rest() -> None:
    assert dirichlet([0.3]) == pytest.approx((0.3, 0.7))


def test_a_single_entry_has_all() -> None:
    assert dirichlet([]) == (1.0,)
