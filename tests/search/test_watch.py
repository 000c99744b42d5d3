"""What a search's callback tells of Ray Tune's trials, and when it gives up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.search import watch as module
from hmdc_ray.search.settings import WHOLE
from hmdc_ray.search.watch import Listener, Watch, listening

from .conftest import rung


def trial(status: str = "RUNNING", fidelity: int | None = None, error: Exception | None = None) -> Any:
    result = {} if fidelity is None else {"rungs": json.dumps([asdict(rung(0.5, 1.0, fidelity))])}
    return SimpleNamespace(experiment_tag="2_x", trial_id="x", status=status, last_result=result, get_error=lambda: error)


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener(Mock(), check=Mock(), trials=5, start_timeout=10.0)
    with listening(found):
        yield found


def test_rungs_early_ends_and_failures_are_told(listener: Listener) -> None:
    tune, told = Watch(), listener.progress
    assert isinstance(told, Mock)
    judged = trial(fidelity=3)
    tune.on_trial_result(0, [], judged, judged.last_result)
    told.rung.assert_called_once_with(2, 5, rung(0.5, 1.0, 3))
    for ended in (trial(), trial(fidelity=WHOLE), trial(fidelity=3)):
        tune.on_trial_complete(0, [], ended)
    told.stopped.assert_called_once_with(2, 5)
    died = trial(error=RuntimeError("Traceback\n  somewhere\nthe actor died\n"))
    tune.on_trial_recover(0, [], died)
    tune.on_trial_error(0, [], trial())
    assert [call.args for call in told.failure.call_args_list] == [
        (2, 5, "the actor died", True),
        (2, 5, "unknown reason", False),
    ]


def test_a_search_ends_when_nothing_starts_in_time(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((0.0, 9.0, 20.0, 29.0, 31.0))
    monkeypatch.setattr(module, "monotonic", lambda: next(times))
    waiting, running = trial("PENDING"), trial("RUNNING")
    for trials in ([waiting], [waiting], [waiting, running], [waiting], [waiting]):  # 0 s, 9 s, -, 20 s, 29 s
        Watch().on_step_end(0, trials)
    with pytest.raises(InputError, match=r"no trial could start within cluster\.start_timeout 10 s"):
        Watch().on_step_end(0, [waiting])
    assert isinstance(listener.check, Mock) and listener.check.call_count == 6
