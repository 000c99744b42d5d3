"""Tracking that is opened late: what was told before comes first, and nothing is opened for nothing."""

from __future__ import annotations

from threading import Event, current_thread, main_thread
from typing import Any

import numpy as np
import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.tracking import DeferredTracking, NoTracker, Tracking
from hmdc_ray.tracking import deferred as deferred_module


class Told(NoTracker):
    """Writes down what it is told."""

    run_id = "run"
    location = "there"

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.finished = Event()

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
        self.finished.set()


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


def test_it_opens_once_with_the_first_metrics_and_keeps_the_order() -> None:
    opening = Opening()
    tracking = DeferredTracking(opening)
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
    DeferredTracking(opening).finish("FAILED")
    assert not opening.times


def test_a_run_that_failed_before_its_first_metrics_is_closed_if_it_told_something() -> None:
    opening = Opening()
    tracking = DeferredTracking(opening)
    tracking.image("images", PICTURE, 0)
    opening.let.set()
    tracking.finish("FAILED")
    assert opening.told.calls == [("image", "images", 0), ("finish", "FAILED")]


def test_what_cannot_be_opened_is_warned_of_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deferred_module, "PAUSE_SECONDS", 0.0)
    opening = Opening(InputError("no such store"))
    tracking = DeferredTracking(opening)
    opening.let.set()
    with pytest.raises(InputError, match="no such store"):  # who asks for it is told
        tracking.require()
    tracking.metrics(1, {})  # who only tells is not
    while opening.times < 3:
        tracking.metrics(2, {})
    assert (tracking.run_id, tracking.location) == ("", "")
    opening.error = None
    tracking.finish("FINISHED")
    assert opening.told.calls[0] == ("metrics", 1, {}) and opening.told.calls[-1] == ("finish", "FINISHED")
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["MLflow does not take this run now (no such store); the run goes on"]


def test_a_run_that_could_not_be_tracked_at_all_is_finished(caplog: pytest.LogCaptureFixture) -> None:
    opening = Opening(InputError("no such store"))
    tracking = DeferredTracking(opening)
    tracking.metrics(1, {})
    opening.let.set()
    tracking.finish("FAILED")  # the run fails with the error that it has
    tracking.finish("KILLED")
    tracking.finish("FINISHED")
    assert caplog.messages[-1] == "MLflow lacks this run: what it would hold is in the run's folder"


def test_an_error_of_ours_is_not_kept_quiet() -> None:
    opening = Opening(AssertionError("a fault of ours"))
    tracking = DeferredTracking(opening)
    opening.let.set()
    tracking.metrics(1, {})
    with pytest.raises(AssertionError, match="a fault of ours"):
        tracking.finish("FINISHED")


def test_a_run_that_is_stopped_does_not_wait_for_a_server_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred_module, "OPENING_SECONDS", 0.01)
    opening = Opening()
    tracking = DeferredTracking(opening)
    tracking.metrics(1, {})
    tracking.finish("KILLED")  # would wait for a minute
    assert not opening.let.is_set() and opening.told.calls == []
    opening.let.set()
    assert opening.told.finished.wait(60)  # none is left that seems to run
    assert opening.told.calls == [("finish", "KILLED")]


def test_a_run_that_is_stopped_before_it_is_being_opened_opens_nothing() -> None:
    opening = Opening()
    tracking = DeferredTracking(opening)
    tracking.image("images", PICTURE, 0)
    tracking.finish("KILLED")
    assert not opening.times
