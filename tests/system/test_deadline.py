"""A call into foreign code ends after its time, or when the run is to stop, whether it comes back
or not."""

from __future__ import annotations

import os
from threading import Event
from time import monotonic

import pytest

from hmdc_ray.system.deadline import within


def test_results_and_errors_pass() -> None:
    assert within(60, lambda: 7) == 7
    with pytest.raises(KeyError):
        within(60, lambda: os.environ["HMDC_MISSING"])


def test_what_never_comes_back_is_given_up() -> None:
    with pytest.raises(TimeoutError, match=r"no answer within 0.2 s"):
        within(0.2, Event().wait)


def test_a_stop_does_not_wait_for_the_end() -> None:
    def stop() -> None:
        raise RuntimeError("stopped")

    start = monotonic()
    with pytest.raises(RuntimeError, match="stopped"):
        within(60, Event().wait, stop)
    assert monotonic() - start < 5
