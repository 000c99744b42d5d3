"""Stopping a run by SIGINT or SIGTERM: the first signal ends it in good order, the second at
once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

GRACE_SECONDS = 6.0
"""Seconds that the current step may take after the first signal, before the run stops with the last
checkpoint."""


class Interrupted(Exception):  # noqa: N818  # not an error: the user asked for it
    """The run was asked to stop.

    Attributes:
        signal_number: number of SIGINT or SIGTERM; a program exits with 128 plus this.
        resumable: whether the run can be resumed from its folder.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number
        self.resumable = False


class StopRequest:
    """Remembers the first signal.

    Attributes:
        signal_number: the signal, or None as long as nobody asked to stop.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._since = 0.0

    def receive(self, signal_number: int, frame: FrameType | None = None) -> None:
        """Signal handler; the second signal ends the process at once."""
        if self.signal_number is not None:
            os._exit(128 + signal_number)
        self.signal_number = signal_number
        self._since = monotonic()

    def raise_if_overdue(self) -> None:
        """To be called while waiting.

        Raises:
            Interrupted: the current step did not end within :data:`GRACE_SECONDS` of the signal.
        """
        if self.signal_number is not None and monotonic() - self._since > GRACE_SECONDS:
            raise Interrupted(self.signal_number)

    def raise_if_requested(self) -> None:
        """To be called where the run can stop without loss.

        Raises:
            Interrupted: a signal came.
        """
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM in the block. Outside the main thread signals are left alone.

    Within another such block this gives the outer one's request: a signal that came before is not
    forgotten.
    """
    outer = getattr(signal.getsignal(signal.SIGINT), "__self__", None)
    if isinstance(outer, StopRequest):
        yield outer
        return
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
