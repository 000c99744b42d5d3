"""Connecting to Ray: a local one that does not start in time is tried once more, and then told of
in one line."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import ray

from hmdc_ray.actors.session import ray_session
from hmdc_ray.errors import InputError, RunError
from hmdc_ray.system.signals import Interrupted

SLOW = "The current node timed out during startup. This could happen because\nsome of the raylet failed to startup"


class FakeRay:
    """Stands in for ``ray.init`` and ``ray.shutdown``; the first ``failures`` starts fail."""

    def __init__(self, failures: int, error: Callable[[str], BaseException] = Exception) -> None:
        self.calls: list[str] = []
        self._failures = failures
        self._error = error

    def init(self, address: str, **_: Any) -> None:
        self.calls.append(f"init {address}")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray puts a handler of its own there
        if self.calls.count(f"init {address}") <= self._failures:
            raise self._error(SLOW)

    def shutdown(self) -> None:
        self.calls.append("shutdown")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeRay], FakeRay]:
    def put(fake: FakeRay) -> FakeRay:
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", fake.init)
        monkeypatch.setattr(ray, "shutdown", fake.shutdown)
        return fake

    return put


def test_a_slow_start_is_tried_once_more(use: Callable[[FakeRay], FakeRay]) -> None:
    fake = use(FakeRay(failures=1))
    with ray_session():
        assert fake.calls == ["init local", "shutdown", "init local"]
    assert fake.calls[-1] == "shutdown"


def test_two_slow_starts_are_told_in_one_line(use: Callable[[FakeRay], FakeRay]) -> None:
    fake = use(FakeRay(failures=2))
    with pytest.raises(RunError) as caught, ray_session():
        pytest.fail("there is no Ray to use")
    assert str(caught.value).startswith("Ray did not start on this machine (The current node timed out during startup. This")
    assert "\n" not in str(caught.value)
    assert fake.calls == ["init local", "shutdown"] * 2


def test_a_folder_that_cannot_be_written_is_told_with_its_variables(use: Callable[[FakeRay], FakeRay]) -> None:
    fake = use(FakeRay(failures=1, error=lambda _: PermissionError(errno.EACCES, "Permission denied", "/nowhere/ray")))
    with (
        pytest.raises(InputError, match=r"/nowhere/ray \(Permission denied\): name .* in RAY_TMPDIR, or in TMPDIR"),
        ray_session(),
    ):
        pytest.fail("there is no Ray to use")
    assert fake.calls == ["init local", "shutdown"]


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_signals_go_where_they_went_before(failures: int, use: Callable[[FakeRay], FakeRay]) -> None:
    def mine(number: int, frame: FrameType | None) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGTERM, mine)
    try:
        use(FakeRay(failures))
        if failures < 2:
            with ray_session():
                assert signal.getsignal(signal.SIGTERM) is mine
        else:
            with pytest.raises(RunError), ray_session():
                pytest.fail("there is no Ray to use")
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ray_s_own_answer_to_a_signal_is_the_usual_one(use: Callable[[FakeRay], FakeRay]) -> None:
    fake = use(FakeRay(failures=1, error=lambda _: SystemExit(signal.SIGTERM)))  # what Ray's handler raises
    with pytest.raises(Interrupted, match="stopped by SIGTERM"), ray_session():
        pytest.fail("there is no Ray to use")
    assert fake.calls == ["init local", "shutdown"]
