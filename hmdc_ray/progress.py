"""What a run tells the person who waits for it; the terminal's form is in :mod:`hmdc_ray.terminal`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.evaluation.report import Evaluation


class ReadingProgress(Protocol):
    """Receives the begin of every part of a command, and how far the data is read."""

    def stage(self, text: str) -> None:
        """A new part begins, such as starting actors."""

    def images_decoded(self, done: int, total: int) -> None:
        """Source images decoded so far."""

    def data(self, info: DatasetInfo) -> None:
        """What the source was taken for."""

    def note(self, text: str) -> None:
        """Something was chosen or taken for granted that the user may want to know: a line."""


class Progress(ReadingProgress, Protocol):
    """Receives the course of a run, in this order."""

    def step(self, done: int, total: int, metrics: Mapping[str, float], left_out: Mapping[str, int]) -> None:
        """An image step is done; ``left_out`` counts per target the classes in which it was not usable."""

    def trouble(self, text: str) -> None:
        """Something went wrong, and the run goes on: a line."""

    def trial(self, done: int, total: int) -> None:
        """Students trained so far."""

    def result(self, evaluation: Evaluation) -> None:
        """The evaluation is complete."""


class Silent:
    """Tells nothing."""

    def stage(self, text: str) -> None:
        """Do nothing."""

    def images_decoded(self, done: int, total: int) -> None:
        """Do nothing."""

    def data(self, info: DatasetInfo) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def step(self, done: int, total: int, metrics: Mapping[str, float], left_out: Mapping[str, int]) -> None:
        """Do nothing."""

    def trouble(self, text: str) -> None:
        """Do nothing."""

    def trial(self, done: int, total: int) -> None:
        """Do nothing."""

    def result(self, evaluation: Evaluation) -> None:
        """Do nothing."""
