"""The floor that a step is compared with: operations of the step with torch's own layers, which a
layer of ours that computes less does not lower, over the rate of a matrix product on the same
processor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, median

from hmdc_ray.profiling.operations import Count, total


@dataclass(frozen=True)
class Floor:
    """What the steps of one process are compared with.

    Attributes:
        counts: operations of a step with torch's own layers, by operator.
        plain_seconds: time of the step after it, at the last of the rates.
        rates: floating point operations per second of a matrix product, measured before, between
            and after the steps with our layers, and before those with torch's own.
        bandwidth: bytes per second, read and written, of a copy.
    """

    counts: Mapping[str, Count]
    plain_seconds: float
    rates: tuple[float, ...]
    bandwidth: float

    @property
    def operations(self) -> int:
        """Floating point operations of a step."""
        return total(self.counts.values()).operations

    @property
    def seconds(self) -> float:
        """Seconds of those operations at the median rate."""
        return self.operations / median(self.rates)

    @property
    def roofline(self) -> float:
        """Seconds of a step in which every operator is bound by the matrix rate or by the memory
        alone."""
        return total(self.counts.values()).limit

    @property
    def plain_multiple(self) -> float:
        """How many times the floor the step with torch's own layers took."""
        return self.plain_seconds * self.rates[-1] / self.operations

    def multiples(self, seconds: Sequence[float]) -> list[float]:
        """How many times the floor each of the last steps took, at the mean of the rates before and
        after it."""
        beside = self.rates[:-1]
        around = [mean(pair) for pair in pairwise(beside)][-len(seconds) :]
        return [taken * rate / self.operations for taken, rate in zip(seconds, around, strict=True)]
