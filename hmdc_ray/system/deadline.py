"""Calls into foreign code that may never come back: an end after so many seconds, and at once when the run is to stop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from time import monotonic
from typing import TypeVar

Result = TypeVar("Result")

POLL_SECONDS = 0.1
"""How often a wait looks whether the run is to stop."""


def within(seconds: float, call: Callable[[], Result], check: Callable[[], None] = lambda: None) -> Result:
    """What ``call`` returns or raises, if it does in time.

    It runs in a thread of its own, which is left to itself when it takes longer, and does not keep the process alive.

    Args:
        seconds: the most that it may take.
        call: must not need the main thread.
        check: called several times a second; may raise to stop waiting.

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
