"""The grid of learning rates: the same for all rows, and as wide as each needs so that the best is
not at its end."""

from __future__ import annotations

from collections.abc import Mapping

START = (-2, -1, 0)
"""Rungs that every row tries: 0.1, 0.3 and 1."""

LOWEST, HIGHEST = -8, 6
"""Rungs at which the search ends: 0.0001 and 1000."""


def rate(rung: int) -> float:
    """Learning rate of a rung: 1 or 3 times a power of ten; rung 0 is 1, rung 1 is 3."""
    return float(f"{3 if rung % 2 else 1}e{rung // 2}")


def best_rung(accuracies: Mapping[int, float]) -> int:
    """The rung with the highest accuracy, the lowest of equals."""
    return max(sorted(accuracies), key=accuracies.__getitem__)


def next_rung(accuracies: Mapping[int, float]) -> int | None:
    """The rung beyond the end at which the best lies.

    Args:
        accuracies: accuracies by rung, of neighbouring rungs.

    Returns:
        None where the best lies within, or there is no rung beyond.
    """
    best = best_rung(accuracies)
    if best == min(accuracies):
        return best - 1 if best > LOWEST else None
    if best == max(accuracies):
        return best + 1 if best < HIGHEST else None
    return None
