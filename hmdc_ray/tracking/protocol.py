"""What a run can have tracked, and a tracker that tracks nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracking(Protocol):
    """Where a run's records go; no method raises for a server's faults or waits for it, but :meth:`finish`.

    Attributes:
        run_id: MLflow's id of the run, for resuming it; empty when nothing is tracked.
        location: instructions for the user to look at the run: an address, or two lines with a command and an address;
            empty when nothing is tracked.
    """

    run_id: str
    location: str

    def parameters(self, flat: Mapping[str, Any]) -> None:
        """Log the run's parameters, such as :func:`hmdc_ray.config.io.flatten` gives them; they cannot change later."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log values at a step, by names such as ``loss/vit``; they may be NaN or infinite.

        In a resumed run, values at steps that MLflow already has are left out: a step done again is not logged twice.
        """

    def last_step(self, name: str) -> int:
        """The last step for which MLflow had a value of this name when the run was resumed; 0 if none, or for a new run."""

    def image(self, name: str, array_HWC: npt.NDArray[np.uint8], step: int) -> None:
        """Log a picture (H, W, 3) or (H, W, 1), 0 to 255, as one of a series over the steps; never twice at a step."""

    def dataset(self, name: str, source: str, fingerprint: str, schema: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        """Log the data set as the run's input.

        Args:
            name: the data set's name.
            source: where it was read from.
            fingerprint: hash of its content.
            schema: kind of each column, such as ``{"image": "uint8 32x32x3"}``.
            sizes: numbers worth showing, such as images per split.
        """

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags of the run; a later value replaces an earlier one."""

    def artifacts(self, paths: Iterable[Path]) -> None:
        """Store files, and folders with what they hold, with the run; they lie in the run's folder, and stay there."""

    def finish(self, status: Status) -> None:
        """Send what is left and close the run; waits for at most :data:`hmdc_ray.tracking.FINISH_SECONDS`.

        Harmless when repeated.
        """


class NoTracker:
    """Tracks nothing: ``tracking.enabled`` is false."""

    run_id = ""
    location = ""

    def parameters(self, flat: Mapping[str, Any]) -> None:
        """Do nothing."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Do nothing."""

    def last_step(self, name: str) -> int:
        """0: nothing is held."""
        return 0

    def image(self, name: str, array_HWC: npt.NDArray[np.uint8], step: int) -> None:
        """Do nothing."""

    def dataset(self, name: str, source: str, fingerprint: str, schema: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        """Do nothing."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Do nothing."""

    def artifacts(self, paths: Iterable[Path]) -> None:
        """Do nothing."""

    def finish(self, status: Status) -> None:
        """Do nothing."""
