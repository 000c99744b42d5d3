"""Tracking that is opened when there is something to tell: a run's first steps do not wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from logging import DEBUG, WARNING, getLogger
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from hmdc_ray.errors import InputError
from hmdc_ray.tracking.protocol import Status, Tracking

OPENING_SECONDS = 8.0
"""How long a run that was stopped waits for a tracking server that is still being opened."""

PAUSE_SECONDS = 30.0
"""How long before it is tried again to open one that could not be."""

_logger = getLogger(__name__)


class DeferredTracking:
    """Opens a run's tracking in a thread, at the latest with the first metrics; see :class:`hmdc_ray.tracking.Tracking`.

    mlflow is slow to import, and a new database to be made: five seconds of processor time, which the start of a run has
    better use for. What is told before it is open waits in memory. When it cannot be opened, that is warned of once, and tried
    again with later metrics, and at the end. What waited gets the time at which it is passed on.

    Args:
        open_tracking: gives the tracking, or raises :class:`InputError`; called in another thread.
        opened: called with it once it is open, where it is told something, waited for or finished.
    """

    def __init__(self, open_tracking: Callable[[], Tracking], opened: Callable[[Tracking], None] = lambda _: None) -> None:
        self._open_tracking = open_tracking
        self._when_opened = opened
        self._opening: Future[Tracking] | None = None
        self._tracking: Tracking | None = None
        self._kept: list[Callable[[Tracking], None]] = []
        self._next_attempt = 0.0
        self._warned = False

    def open(self) -> None:
        """Begin to open it; harmless when repeated."""
        if self._opening is None:
            self._opening = Future()
            Thread(target=_fulfil, args=(self._opening, self._open_tracking), name="opens tracking", daemon=True).start()

    def require(self) -> Tracking:
        """Wait until it is open.

        Raises:
            InputError: it cannot be opened.
        """
        if self._tracking is None:
            self.open()
            assert self._opening is not None
            self._tracking = self._opening.result()
            self._when_opened(self._tracking)
            kept, self._kept = self._kept, []
            for tell in kept:
                tell(self._tracking)
        return self._tracking

    @property
    def run_id(self) -> str:
        """See the protocol; empty as long as it is not open."""
        return self._tracking.run_id if self._tracking else ""

    @property
    def location(self) -> str:
        """See the protocol; empty as long as it is not open."""
        return self._tracking.location if self._tracking else ""

    def parameters(self, flat: Mapping[str, Any]) -> None:
        """See the protocol."""
        self._tell(lambda tracking: tracking.parameters(flat))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See the protocol."""
        self._tell(lambda tracking: tracking.metrics(step, values))
        if monotonic() >= self._next_attempt:
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
        """See the protocol. Of a run that told nothing, or is stopped before it is being opened, there is nothing to close."""
        if self._opening is None and self._tracking is None and (status == "KILLED" or not self._kept):
            return
        opening = self._open_and_wait(OPENING_SECONDS if status == "KILLED" else None)
        if not opening.done():
            opening.add_done_callback(_close_stopped)
        elif status == "FINISHED":
            self._deliver()
            if self._tracking is None:  # the attempt may have begun long ago
                self._open_and_wait(None)
                self._deliver()
        else:
            with suppress(Exception):  # the run ends with an error of its own, which must not be lost
                self.require()
        if self._tracking is not None:
            self._tracking.finish(status)
        elif status == "FINISHED":
            _logger.warning("MLflow lacks this run: what it would hold is in the run's folder")

    def _open_and_wait(self, seconds: float | None) -> Future[Tracking]:
        self.open()
        assert self._opening is not None
        wait([self._opening], seconds)
        return self._opening

    def _tell(self, tell: Callable[[Tracking], None]) -> None:
        if self._tracking is not None:
            tell(self._tracking)
        else:
            self._kept.append(tell)
            self._deliver()

    def _deliver(self) -> None:
        """Pass on what was kept, if it can be opened by now."""
        if self._opening is None or not self._opening.done():
            return
        try:
            self.require()
        except InputError as error:
            _logger.log(DEBUG if self._warned else WARNING, "MLflow does not take this run now (%s); the run goes on", error)
            self._warned, self._opening = True, None
            self._next_attempt = monotonic() + PAUSE_SECONDS


def _fulfil(future: Future[Tracking], open_tracking: Callable[[], Tracking]) -> None:
    try:
        future.set_result(open_tracking())
    except BaseException as error:  # whatever it is, it belongs to the one who asks for the result
        future.set_exception(error)


def _close_stopped(future: Future[Tracking]) -> None:
    """Of a run that is stopped already, in the thread that opened it."""
    if future.exception() is None:
        future.result().finish("KILLED")
