"""A tracker: the edge to a store of runs, such as MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from hmdc_ray.tracking.records import Dataset, Status


class Value(NamedTuple):
    """A value of a metric, at a step, at a time in milliseconds since 1970; it may be NaN or
    infinite."""

    name: str
    value: float
    time: int
    step: int


class Tracker(Protocol):
    """One run in a store, started or continued by what opens the tracker.

    What a run tells waits in its folder, and :class:`hmdc_ray.tracking.sender.Sender` calls these
    methods in a thread of its own. They may take long and raise anything: the sender tries again
    later. The same call twice must change nothing.

    Attributes:
        run_id: the store's id of the run, letters and digits; another one than before makes the
            sender send everything again.
        location: instructions for the user to look at the run: an address, or two lines with a
            command and an address.
        latest: last step of each metric that the store has; values at these steps and before are
            not sent again.
    """

    run_id: str
    location: str
    latest: Mapping[str, int]

    def parameters(self, values: Mapping[str, str]) -> None:
        """Log parameters of the run by name, such as ``images.ipc``."""

    def metrics(self, values: Sequence[Value]) -> None:
        """Log values of metrics, at most :data:`hmdc_ray.tracking.sender.BATCH_VALUES` of them."""

    def dataset(self, record: Dataset) -> None:
        """Log the data set as the run's input."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags of the run; a later value replaces an earlier one."""

    def image(self, name: str, step: int, files: Sequence[Path]) -> None:
        """Log a picture of a series, such as ``images/condensed``: a PNG in full, then a small
        WebP; one of them may be missing."""

    def artifact(self, path: Path, name: str) -> None:
        """Store a file, or a folder with what it holds, under its path within the run's folder."""

    def status(self, status: Status, time: int) -> None:
        """Say that the run runs, or how it ended, at a time in milliseconds since 1970."""

    def refuses(self, error: Exception) -> bool:
        """Whether an error that a method raised says that the store will never take what it was
        given."""
