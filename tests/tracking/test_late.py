"""Tracking that is opened late: what was told before comes first, and nothing is opened for nothing."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, current_thread, main_thread
from typing import Any

import numpy as np
import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.tracking import LateTracking, NoTracker, Tracking
from hmdc_ray.tracking import late as late_module


class Told(NoTracker):
    """Writes down what it is told."""

    run_id = "run"
    location = "there"

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def metrics(self, *arguments: Any) -> None:
        self.calls.append(("metrics", *arguments))

    def image(self, *arguments: Any) -> None:
        self.calls.append(("image", arguments[0], arguments[2]))

    def tags(self, *arguments: Any) -> None:
        self.calls.append(("tags", *arguments))

    def artifacts(self, *arguments: Any) -> None:
        self.calls.append(("artifacts", *arguments))

    def finish(self, status: str) -> None:
        self.calls.append(("finish", status))


class Opening:
    """Opens when it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self.told = Told()
        self.times = 0
        self.let = Event()
        self.error = error

    def __call__(self) -> Tracking:
        assert current_thread() is not main_thread()
        self.times += 1
        assert self.let.wait(60)
        if self.error:
            raise self.error
        return self.told


PICTURE = np.zeros((1, 1, 1), np.uint8)


def opened_after(first: Callable[[LateTracking], None]) -> Opening:
    """Tell something, and finish once the tracking is open."""
    opening = Opening()
    tracking = LateTracking(opening)
    first(tracking)
    opening.let.set()
    tracking.finish("FINISHED")
    return opening


def test_it_opens_once_with_the_first_metrics_and_keeps_the_order() -> None:
    opening = Opening()
    tracking = LateTracking(opening)
    tracking.image("images", PICTURE, 0)
    assert not opening.times and (tracking.run_id, tracking.location) == ("", "")
    tracking.metrics(1, {"loss": 2.0})
    tracking.metrics(2, {"loss": 1.0})
    assert opening.told.calls == []
    opening.let.set()
    assert tracking.require() is opening.told
    tracking.tags({"a": "b"})
    tracking.finish("FINISHED")
    assert opening.told.calls == [
        ("image", "images", 0),
        ("metrics", 1, {"loss": 2.0}),
        ("metrics", 2, {"loss": 1.0}),
        ("tags", {"a": "b"}),
        ("finish", "FINISHED"),
    ]
    assert (opening.times, tracking.run_id, tracking.location) == (1, "run", "there")


def test_a_run_that_told_nothing_opens_nothing() -> None:
    opening = Opening()
    LateTracking(opening).finish("FAILED")
    assert not opening.times


def test_a_run_that_failed_before_its_first_metrics_is_closed_if_it_told_something() -> None:
    opening = opened_after(lambda tracking: tracking.image("images", PICTURE, 0))
    assert opening.told.calls == [("image", "images", 0), ("finish", "FINISHED")]


def test_what_cannot_be_opened_is_raised_by_what_is_told_next_and_by_the_end() -> None:
    opening = Opening(InputError("no such store"))
    tracking = LateTracking(opening)
    tracking.metrics(1, {})
    opening.let.set()
    with pytest.raises(InputError, match="no such store"):
        tracking.require()
    with pytest.raises(InputError, match="no such store"):
        tracking.metrics(2, {})
    assert tracking.run_id == ""
    tracking.finish("FAILED")  # the run fails with the error that it has
    tracking.finish("KILLED")
    with pytest.raises(InputError, match="no such store"):
        tracking.finish("FINISHED")


def test_a_run_that_is_stopped_does_not_wait_for_a_server_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_module, "OPENING_SECONDS", 0.01)
    opening = Opening()
    tracking = LateTracking(opening)
    tracking.metrics(1, {})
    tracking.finish("KILLED")  # would wait for a minute
    assert not opening.let.is_set() and opening.told.calls == []
    opening.let.set()
    tracking.require()
    tracking.finish("KILLED")
    assert opening.told.calls == [("metrics", 1, {}), ("finish", "KILLED")]
