"""A store that is slow, refuses, fails, or loses its answers: the run does not wait, and nothing is
lost or doubled."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from hmdc_ray.config import TrackingConfig
from hmdc_ray.errors import InputError
from hmdc_ray.system.files import read_json_lines
from hmdc_ray.tracking import Recorder, Sender
from hmdc_ray.tracking.recorder import FINISH_SECONDS
from tracking.mlflow_server import Store, StubTracker, artifacts, both_forms, history, picture_steps, steps

PICTURE = np.zeros((4, 4, 3), np.uint8)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def wait_until(happens: Callable[[], bool]) -> None:
    while not happens():
        threading.Event().wait(0.001)


def test_the_run_never_waits_for_the_store(
    run: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that never answers: all is in the folder when the calls return, and only the thread
    has asked it."""
    monkeypatch.setitem(FINISH_SECONDS, "KILLED", 0.01)
    tracker = StubTracker()
    recorder = Recorder(tracker.sender(run))
    recorder.parameters({"a": 1})
    recorder.dataset("digits", "", "f", {}, {})
    steps(run, 1)
    recorder.image("images", PICTURE, 0)
    recorder.artifacts([run / "config.yaml"])
    kinds = [record["kind"] for record in read_json_lines(run / "tracking" / "records.jsonl")]
    assert kinds == ["state", "parameters", "dataset", "picture", "artifact"]
    assert len(list((run / "tracking").glob("images+step+0+*"))) == 2
    wait_until(lambda: tracker.threads == {"tracking"})
    recorder.finish("KILLED")
    assert tracker.calls == [] and (recorder.run_id, recorder.location) == ("", "")
    assert warnings(caplog) == [f"MLflow lacks 6 records of this run; send them with: hmdc sync-tracking {run}"]
    before = (run / "tracking" / "run.json").read_text()
    tracker.gate.set()
    recorder._thread.join()
    assert (run / "tracking" / "run.json").read_text() == before, "another process may have resumed the run"


@pytest.mark.parametrize("status", ["KILLED", "FAILED"])
def test_a_run_that_is_stopped_before_its_first_step_opens_nothing(
    status: Any, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = StubTracker()
    tracker.gate.set()
    recorder = Recorder(tracker.sender(run))
    recorder.image("images", PICTURE, 0)
    recorder.finish(status)
    assert tracker.names == ([] if status == "KILLED" else ["open", "image", "status"])  # a failure is told
    assert warnings(caplog) == []


def test_a_fault_that_passes_is_told_once_and_all_arrives(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    gone = ConnectionError("server gone")
    tracker = StubTracker(gone, InputError("no such store"), RuntimeError("500"), gone)
    recorder = Recorder(tracker.sender(run))
    steps(run, 1, 2)
    recorder.metrics(2, {"accuracy": 0.5})
    recorder.image("images", PICTURE, 0)
    recorder.artifacts([run / "config.yaml", run / "tracking"])
    tracker.gate.set()
    wait_until(lambda: not tracker.faults)
    recorder.finish("FINISHED")
    assert tracker.threads == {"tracking"}
    assert set(tracker.names) == {"open", "metrics", "image", "artifact", "status"}
    assert tracker.calls[-1][:2] == ("status", "FINISHED")
    assert warnings(caplog) == ["MLflow does not take records of this run now (server gone); the run goes on, and keeps them"]
    assert {path.name for path in (run / "tracking").iterdir()} == {"run.json", "records.jsonl"}


def test_what_the_store_refuses_does_not_hold_up_the_rest(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = StubTracker()
    recorder = Recorder(tracker.sender(run))
    tracker.faults = [ConnectionError("not now"), None, ValueError("cannot change")]
    steps(run, 1)
    recorder.tags({"a": "b"})
    tracker.gate.set()
    wait_until(lambda: len(tracker.faults) < 3)
    recorder.finish("FINISHED")
    assert tracker.names == ["open", "tags", "status"]
    assert warnings(caplog)[-1] == "MLflow refuses a record of this run (cannot change); the run goes on"


def test_a_picture_that_cannot_be_written_is_told(
    run: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("hmdc_ray.tracking.recorder.write_picture", full)
    tracker = StubTracker()
    tracker.gate.set()
    recorder = Recorder(tracker.sender(run))
    recorder.image("images", PICTURE, 0)
    recorder.finish("FINISHED")
    assert tracker.names == ["open", "status"]
    assert warnings(caplog) == ["MLflow will lack pictures of this run (No space left on device); the run goes on"]


def test_a_crash_between_sending_and_noting_it_doubles_nothing(store: Store, run: Path) -> None:
    """The resumed run does its last steps again, at another time and with other values, as GPUs may
    give."""
    store.copy_database(run.parent / "mlflow.db")
    recorder = Recorder(Sender.of_run(TrackingConfig(), "run", run, {}))
    steps(run, 1, 2, 3)
    recorder.image("images", PICTURE, 3)
    recorder.metrics(3, {"accuracy": 0.5})
    wait_until(lambda: bool(recorder.run_id))
    state = json.loads((run / "tracking" / "run.json").read_text())
    recorder.finish("KILLED")
    (run / "tracking" / "run.json").write_text(json.dumps({**state, "step": 0, "sent": 0}))
    with (run / "tracking" / "records.jsonl").open("a") as file:
        file.write('{"kind":"metrics","st')
    (run / "metrics.jsonl").unlink()
    steps(run, 1, 2)
    again = Recorder(Sender.of_run(TrackingConfig(), "run", run, {}))
    steps(run, 3, 4, time=70)
    again.image("images", PICTURE, 3)
    again.metrics(3, {"accuracy": 0.7})
    again.finish("FINISHED")
    client = MlflowClient(f"sqlite:///{run.parent / 'mlflow.db'}")
    assert again.run_id == recorder.run_id
    assert client.get_run(again.run_id).info.status == "FINISHED"
    assert history(client, again.run_id, "loss") == [(step, step / 2) for step in (1, 2, 3, 4)]
    assert history(client, again.run_id, "accuracy") == [(3, 0.5)]
    assert picture_steps(client, again.run_id) == both_forms(3)


def test_lost_answers_double_nothing(store: Store, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call arrives, and its first answer is lost."""
    store.copy_database(run.parent / "mlflow.db")
    lost: set[str] = set()

    def losing(name: str, action: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            answer = action(*arguments, **more)
            if name not in lost:
                lost.add(name)
                raise ConnectionError("answer lost")
            return answer

        return call

    names = ("create_run", "log_batch", "log_artifact", "log_artifacts", "log_inputs", "set_tag", "set_terminated")
    for name in names:
        monkeypatch.setattr(MlflowClient, name, losing(name, getattr(MlflowClient, name)))
    (run / "folder").mkdir()
    (run / "folder" / "inner").write_text("x")
    recorder = Recorder(Sender.of_run(TrackingConfig(), "run", run, {"preset": "lost"}))
    recorder.parameters({"a": 1})
    recorder.dataset("digits", "", "f", {"image": "x"}, {})
    steps(run, *range(1, 51))
    for step in range(50):
        recorder.metrics(step, {"nan": float("nan")})
    recorder.image("images", PICTURE, 3)
    recorder.artifacts([run / "config.yaml", run / "folder"])
    wait_until(lambda: lost >= set(names) - {"set_terminated"})
    recorder.finish("FINISHED")
    monkeypatch.undo()
    client = MlflowClient(f"sqlite:///{run.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("hmdc-ray")
    assert experiment is not None
    (stored,) = client.search_runs([experiment.experiment_id], "tags.preset = 'lost'")
    assert lost == set(names) and stored.info.run_id == recorder.run_id and stored.info.status == "FINISHED"
    assert history(client, recorder.run_id, "loss") == [(step, step / 2) for step in range(1, 51)]
    assert len(history(client, recorder.run_id, "nan")) == 50
    assert picture_steps(client, recorder.run_id) == both_forms(3)
    assert artifacts(client, recorder.run_id) == {"config.yaml", "folder", "images"}
    assert stored.inputs is not None and len(stored.inputs.dataset_inputs) == 1
