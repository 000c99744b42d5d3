"""Tests whether two condensed sets differ, with students paired by seed, corrected for the number
of architectures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from hmdc_ray.errors import InputError

ERROR_RATE = 0.05
"""Largest probability that any interval of a comparison misses the true difference, or any test
finds one that is none."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference of two sets for one architecture, in fractions.

    Attributes:
        architecture: name of the students.
        difference: mean accuracy on the second set minus that on the first.
        low: lower end of the difference's interval; all intervals of a comparison hold together
            with 95 % confidence.
        high: upper end of that interval.
        p_value: p-value of Student's paired t-test, two-sided, for this architecture alone.
        p_corrected: p-value corrected for all architectures of the comparison, at most 1.
        significant: whether the interval excludes 0, which is the same as p_corrected below 0.05.
    """

    architecture: str
    difference: float
    low: float
    high: float
    p_value: float
    p_corrected: float
    significant: bool


def compare(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]) -> tuple[Comparison, ...]:
    """Compare two sets, architecture by architecture, by the paired t-test
    (``scipy.stats.ttest_rel``).

    Both the intervals and the p-values are corrected by Bonferroni's rule: with m architectures
    each interval is one of 1 - 0.05 / m, and p_corrected = min(1, m p). So an interval excludes 0
    exactly when p_corrected < 0.05 (Holm's p-values are smaller, but have no such intervals), and
    both hold however the architectures' accuracies depend on each other.

    Where all pairs differ by the same amount, the interval has length 0, and p is 1 without a
    difference, else 0. That proves little when it is two seeds that happen to agree.

    Args:
        first: accuracies of students by architecture, in the order of their seeds, finite fractions
            in [0, 1].
        second: accuracies on the second set, of the same architectures and seeds, in any order of
            architectures.

    Returns:
        One comparison per architecture, in the order of ``first``.

    Raises:
        InputError: the architectures are not the same, or one has fewer than two seeds, or
            different numbers of seeds.
    """
    _require_pairs(first, second)
    return tuple(_compare(name, first[name], second[name], len(first)) for name in first)


def _compare(architecture: str, first: Sequence[float], second: Sequence[float], tests: int) -> Comparison:
    differences = np.subtract(second, first)
    assert np.isfinite(differences).all(), (architecture, first, second)
    difference, freedom = float(differences.mean()), len(differences) - 1
    if np.ptp(differences) == 0:  # exactly, free of the mean's rounding
        difference = float(differences[0])
        p_value = float(difference == 0)
        half = 0.0
    else:
        error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
        # Student's t from scipy.special, as in statistics.py: scipy.stats takes a second to import.
        p_value = 2 * float(stdtr(freedom, -abs(difference) / error))
        half = float(stdtrit(freedom, 1 - ERROR_RATE / (2 * tests))) * error
    low, high = difference - half, difference + half
    return Comparison(architecture, difference, low, high, p_value, min(1.0, tests * p_value), not low <= 0 <= high)


def _require_pairs(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]) -> None:
    if first.keys() != second.keys():
        raise InputError(
            f"architectures are {_listed(first)} for the first set and {_listed(second)} for the second: must be the same"
        )
    for name in first:
        counts = len(first[name]), len(second[name])
        if counts[0] != counts[1]:
            raise InputError(
                f"seeds of {name!r} are {counts[0]} for the first set and {counts[1]} for the second: must be the same"
            )
        if counts[0] < 2:
            raise InputError(f"seeds of {name!r} are {counts[0]}: must be at least 2 to tell a difference from chance")


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(map(repr, names)) or "none"
