"""Mean, spread and confidence interval of repeated measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Summary:
    """Several students' accuracies, fractions in [0, 1].

    Attributes:
        mean: mean of the accuracies.
        std: sample standard deviation (n - 1); 0 for one value.
        low: lower end of the 95 % interval of the mean (Student's t), not cut at 0; the mean itself
            for one value, which tells nothing about its spread.
        high: upper end of that interval, not cut at 1.
        values: accuracies, in the order of their seeds.
    """

    mean: float
    std: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def half_interval(self) -> float | None:
        """Half the length of the interval; None when one value leaves it unknown."""
        return (self.high - self.low) / 2 if len(self.values) > 1 else None


def summarise_values(values: Sequence[float]) -> Summary:
    """Summarise at least one finite value; see :class:`Summary`."""
    mean = float(np.mean(values))
    if len(values) == 1:
        return Summary(mean, 0.0, mean, mean, tuple(values))
    # Quantile of Student's t; scipy.stats has it too, but takes a second to import.
    std = float(np.std(values, ddof=1))
    half = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * std / math.sqrt(len(values))
    return Summary(mean, std, mean - half, mean + half, tuple(values))
