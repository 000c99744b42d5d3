"""Tracking that is opened when there is something to tell: a run's first steps do not wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import numpy.typing as npt

from hmdc_ray.errors import InputError
from hmdc_ray.tracking.protocol import Status, Tracking

OPENING_SECONDS = 8.0
"""How long a run that was stopped waits for a tracking server that is still being opened."""


class LateTracking:
    """Opens a run's tracking in a thread, at the latest with the first metrics; see :class:`hmdc_ray.tracking.Tracking`.

    mlflow is slow to import, and a new database to be made: five seconds of processor time, which the start of a run has
    better use for. What is told before it is open waits in memory. That it could not be opened is raised by what is told next.

    Args:
        open_tracking: gives the tracking, or raises :class:`InputError`; called at most once, in another thread.
    """

    def __init__(self, open_tracking: Callable[[], Tracking]) -> None:
        self._open_tracking = open_tracking
        self._opened: Future[Tracking] | None = None
        self._kept: list[Callable[[Tracking], None]] = []

    def open(self) -> None:
        """Begin to open it; harmless when repeated."""
        if self._opened is None:
            self._opened = Future()
            Thread(target=_fulfil, args=(self._opened, self._open_tracking), name="opens tracking", daemon=True).start()

    def require(self) -> Tracking:
        """Wait until it is open.

        Raises:
            InputError: it cannot be opened.
        """
        self.open()
        assert self._opened is not None
        tracking = self._opened.result()
        kept, self._kept = self._kept, []
        for tell in kept:
            tell(tracking)
        return tracking

    @property
    def run_id(self) -> str:
        """See the protocol; empty as long as it is not open."""
        return self._now.run_id if self._now else ""

    @property
    def location(self) -> str:
        """See the protocol; empty as long as it is not open."""
        return self._now.location if self._now else ""

    def parameters(self, flat: Mapping[str, Any]) -> None:
        """See the protocol."""
        self._tell(lambda tracking: tracking.parameters(flat))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See the protocol."""
        self._tell(lambda tracking: tracking.metrics(step, values))
        self.open()

    def last_step(self, name: str) -> int:
        """See the protocol; waits until it is open."""
        return self.require().last_step(name)

    def image(self, name: str, array_HWC: npt.NDArray[np.uint8], step: int) -> None:
        """See the protocol."""
        self._tell(lambda tracking: tracking.image(name, array_HWC, step))

    def dataset(self, name: str, source: str, fingerprint: str, schema: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        """See the protocol."""
        self._tell(lambda tracking: tracking.dataset(name, source, fingerprint, schema, sizes))

    def tags(self, values: Mapping[str, str]) -> None:
        """See the protocol."""
        self._tell(lambda tracking: tracking.tags(values))

    def artifacts(self, paths: Iterable[Path]) -> None:
        """See the protocol."""
        self._tell(lambda tracking: tracking.artifacts(paths))

    def finish(self, status: Status) -> None:
        """See the protocol; of a run that told nothing there is nothing to close.

        Raises:
            InputError: it could not be opened, and the run is finished: what it told is lost.
        """
        if self._opened is None and not self._kept:
            return
        self.open()
        assert self._opened is not None
        try:
            self._opened.result(OPENING_SECONDS if status == "KILLED" else None)
        except (InputError, TimeoutError):
            if status == "FINISHED":
                raise
            return
        self.require().finish(status)

    @property
    def _now(self) -> Tracking | None:
        if self._opened is None or not self._opened.done() or self._opened.exception():
            return None
        return self._opened.result()

    def _tell(self, tell: Callable[[Tracking], None]) -> None:
        self._kept.append(tell)
        if self._opened is not None and self._opened.done():
            self.require()


def _fulfil(future: Future[Tracking], open_tracking: Callable[[], Tracking]) -> None:
    try:
        future.set_result(open_tracking())
    except BaseException as error:  # whatever it is, it belongs to the one who asks for the result
        future.set_exception(error)
