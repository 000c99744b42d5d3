"""The progress of a run, as reported to the person who waits for it; :mod:`hmdc_ray.cli.terminal`
shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.system.signals import StopRequest


class ReadingProgress(Protocol):
    """Receives the start of every part of a command, and how much of the data has been read."""

    def stage(self, text: str) -> None:
        """A new part begins, such as starting actors."""

    def images_decoded(self, done: int, total: int) -> None:
        """Source images decoded so far."""

    def data(self, info: DatasetInfo) -> None:
        """The data is read; ``info`` describes what was found."""

    def note(self, text: str) -> None:
        """One line on something chosen or taken for granted that the user may want to know."""

    def resources(self, text: str) -> None:
        """One line on the machines that a part of the command uses."""


class Progress(ReadingProgress, Protocol):
    """Receives the progress of a run; the methods are called in this order."""

    def step(self, done: int, total: int, metrics: Mapping[str, float], left_out: Mapping[str, int]) -> None:
        """An image step is done; ``left_out`` counts for each target the classes in which its
        gradient was not usable."""

    def trouble(self, text: str) -> None:
        """One line on something that went wrong; the run continues."""

    def trial(self, done: int, total: int) -> None:
        """Students trained so far."""

    def result(self, evaluation: Evaluation) -> None:
        """The evaluation is complete."""


class Silent:
    """Reports nothing."""

    def stage(self, text: str) -> None:
        """Do nothing."""

    def images_decoded(self, done: int, total: int) -> None:
        """Do nothing."""

    def data(self, info: DatasetInfo) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def resources(self, text: str) -> None:
        """Do nothing."""

    def step(self, done: int, total: int, metrics: Mapping[str, float], left_out: Mapping[str, int]) -> None:
        """Do nothing."""

    def trouble(self, text: str) -> None:
        """Do nothing."""

    def trial(self, done: int, total: int) -> None:
        """Do nothing."""

    def result(self, evaluation: Evaluation) -> None:
        """Do nothing."""


def load_dataset_info(
    config: RunConfig, progress: ReadingProgress, stop: StopRequest, *, normalises: bool = True
) -> DatasetInfo:
    """Decode the data unless an earlier run has, and report its description.

    Args:
        config: configuration that names the data.
        progress: receiver of the progress.
        stop: request to stop, looked at between images, and while another process decodes them.
        normalises: whether the command uses the data's own mean and std; only then is a note on
            them reported.

    Raises:
        InputError: the data cannot be read, see :func:`hmdc_ray.data.dataset.open_dataset`.
        Interrupted: the process was asked to stop.
    """

    def decoded(done: int, total: int) -> None:
        progress.images_decoded(done, total)
        stop.raise_if_requested()

    progress.stage("reading data")
    info = open_dataset(config.data, decoded, stop.raise_if_requested).info
    progress.data(info if normalises else replace(info, statistics_note=None))
    return info
