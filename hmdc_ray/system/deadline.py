"""Calls into foreign code that may never return: given up after a time limit, and at once when the
run is to stop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from time import monotonic
from typing import TypeVar

Result = TypeVar("Result")

POLL_SECONDS = 0.1
"""Seconds between two looks at whether the run is to stop."""


def within(seconds: float, call: Callable[[], Result], check: Callable[[], None] = lambda: None) -> Result:
    """What ``call`` returns or raises, if it does in time.

    It runs in a thread of its own, which is abandoned when it takes longer, and does not keep the
    process alive.

    Args:
        seconds: longest time that it may take.
        call: function to run, which must not need the main thread.
        check: callback run several times a second; may raise to stop waiting.

    Raises:
        TimeoutError: the call took longer.
    """
    future: Future[Result] = Future()
    Thread(target=_fulfil, args=(future, call), name="within a time limit", daemon=True).start()
    deadline = monotonic() + seconds
    while not future.done():
        wait([future], POLL_SECONDS)
        check()
        if not future.done() and monotonic() > deadline:
            raise TimeoutError(f"no answer within {seconds:g} s")
    return future.result()


def _fulfil(future: Future[Result], call: Callable[[], Result]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # whatever it is, it belongs to the one who waits
        future.set_exception(error)
