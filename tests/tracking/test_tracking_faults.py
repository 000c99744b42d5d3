"""A store that is slow, refuses, fails, or loses its answers: the run does not wait, and nothing is lost or doubled."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow_server import Store, artifacts, both_forms, history, picture_steps, shared_store

from hmdc_ray.config import TrackingConfig
from hmdc_ray.tracking import FINISH_SECONDS, Tracker, tracker
from hmdc_ray.tracking.delivery import Delivery, is_refusal
from hmdc_ray.tracking.journal import Journal
from hmdc_ray.tracking.records import Artifact, Destination, Ending, Metrics, Parameters
from hmdc_ray.tracking.store import prepare
from hmdc_ray.tracking.system import SystemSampler

RUN = Destination(run_id="1", uri=None)
PICTURE = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests name their own store, whatever the environment says."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return shared_store(tmp_path_factory.getbasetemp())


class StubClient:
    """Records calls, and the threads that they come from; waits for ``gate`` in each, then fails as ``faults`` says.

    Args:
        faults: what the calls raise, in order; later ones succeed.
    """

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.calls: list[str] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*arguments: Any, **more: Any) -> None:
            self.threads.add(threading.current_thread().name)
            self.gate.wait()
            if self.faults:
                raise self.faults.pop(0)
            self.calls.append(name)

        return call


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder, with a file; records are sent at once, and tried again at once."""
    monkeypatch.setattr(tracker, "SEND_SECONDS", 0.0)
    monkeypatch.setattr(tracker, "LONGEST_PAUSE", 0.0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 1")
    return tmp_path / "run"


def tracked(client: StubClient, run: Path) -> Tracker:
    return Tracker(cast(MlflowClient, client), RUN, "nowhere", Journal(run / "tracking"))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_run_never_waits_for_the_store(
    run: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that never answers: all is in the folder when the calls return, and only the thread has asked it."""
    monkeypatch.setitem(FINISH_SECONDS, "KILLED", 0.01)
    client = StubClient()
    tracker = tracked(client, run)
    tracker.parameters({"a": 1})
    tracker.dataset("digits", "", "f", {}, {})
    assert not (run / "tracking").exists(), "a run that is not started yet leaves its folder alone"
    tracker.metrics(0, {"loss": 1.0})
    tracker.image("images", PICTURE, 0)
    tracker.artifacts([run / "config.yaml"])
    lines = (run / "tracking" / "records.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["parameters", "dataset", "metrics", "picture", "artifact"]
    assert len(list((run / "tracking").glob("images+step+0+*"))) == 2
    tracker.finish("KILLED")
    assert client.calls == []
    assert client.threads <= {"tracking"}
    assert warnings(caplog) == [f"MLflow lacks 6 records of this run; send them with: hmdc sync-tracking {run}"]
    Journal.reopen(run / "tracking").close()  # although the thread still waits, another tracker may go on
    client.gate.set()


def test_a_fault_that_passes_is_told_once_and_all_arrives(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = StubClient(ConnectionError("server gone"), MlflowException("500"), ConnectionError("server gone"))
    tracker = tracked(client, run)
    tracker.metrics(0, {"loss": 1.0})
    tracker.image("images", PICTURE, 0)
    tracker.artifacts([run / "config.yaml"])
    client.gate.set()
    while client.faults:  # the thread tries until all are used up
        threading.Event().wait(0.001)
    tracker.finish("FINISHED")
    assert client.threads == {"tracking"}
    assert client.calls == ["log_batch", "log_artifact", "log_artifact", "set_tag", "log_artifact", "set_terminated"]
    assert warnings(caplog) == ["MLflow does not take records of this run now (server gone); the run goes on, and keeps them"]
    assert {path.name for path in (run / "tracking").iterdir()} == {"run.json", "records.jsonl", "sent.jsonl"}


def test_what_the_store_refuses_does_not_hold_up_the_rest(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = StubClient(MlflowException.invalid_parameter_value("cannot change"))
    client.gate.set()
    tracker = tracked(client, run)
    tracker.parameters({"a": 1})
    tracker.metrics(0, {"loss": 1.0})
    tracker.finish("FINISHED")
    assert client.calls == ["log_batch", "set_terminated"]
    assert warnings(caplog) == [
        "MLflow refuses a record of this run (cannot change); the run goes on",
        f"MLflow lacks 1 records of this run; send them with: hmdc sync-tracking {run}",
    ]


def test_without_a_folder_to_keep_it_a_run_is_sent_all_the_same(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run / "tracking").write_text("in the way")
    client = StubClient()
    client.gate.set()
    tracker = tracked(client, run)
    tracker.metrics(0, {"loss": 1.0})
    tracker.image("images", PICTURE, 0)
    tracker.finish("FINISHED")
    assert client.calls == ["log_batch", "set_terminated"]
    (lost, pictures) = warnings(caplog)
    assert "what MLflow does not take of this run will be lost" in lost
    assert "MLflow will lack pictures of this run" in pictures


def test_lost_answers_double_nothing(store: Store, run: Path) -> None:
    """Every call arrives, and its first answer is lost."""
    store.copy_database(run.parent / "mlflow.db")
    tracker = Tracker.open(TrackingConfig(), "run", run, {})
    client = tracker._delivery._client
    lost: set[str] = set()

    def losing(name: str, action: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            answer = action(*arguments, **more)
            if name not in lost:
                lost.add(name)
                raise ConnectionError("answer lost")
            return answer

        return call

    names = ("log_batch", "log_artifact", "log_artifacts", "log_inputs", "set_tag", "set_terminated")
    (run / "folder").mkdir()
    (run / "folder" / "inner").write_text("x")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in names:
            monkeypatch.setattr(client, name, losing(name, getattr(client, name)))
        tracker.parameters({"a": 1})
        tracker.dataset("digits", "", "f", {"image": "x"}, {})
        for step in range(50):
            tracker.metrics(step, {"loss": step / 3, "nan": float("nan")})
        tracker.image("images", PICTURE, 3)
        tracker.artifacts([run / "config.yaml", run / "folder"])
        while lost != set(names) - {"set_terminated"}:
            threading.Event().wait(0.001)
        tracker.finish("FINISHED")
    assert lost == set(names)
    stored = client.get_run(tracker.run_id)
    assert stored.info.status == "FINISHED"
    assert history(client, tracker.run_id, "loss") == [(step, step / 3) for step in range(50)]
    assert len(history(client, tracker.run_id, "nan")) == 50
    assert picture_steps(client, tracker.run_id) == both_forms(3)
    assert artifacts(client, tracker.run_id) == {"config.yaml", "folder", "images"}
    assert stored.inputs is not None and len(stored.inputs.dataset_inputs) == 1


class Answers(BaseHTTPRequestHandler):
    """Answers with the server's ``statuses`` in turn, then with success."""

    def do_POST(self) -> None:
        statuses = cast(Any, self.server).statuses
        self.rfile.read(int(self.headers["Content-Length"]))
        status = statuses.pop(0) if statuses else 200
        self.send_response(status)
        self.end_headers()
        code = {400: "INVALID_PARAMETER_VALUE", 404: "RESOURCE_DOES_NOT_EXIST"}.get(status, "INTERNAL_ERROR")
        self.wfile.write(b"{}" if status == 200 else json.dumps({"error_code": code, "message": "no"}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal clean."""


@pytest.fixture
def stub_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503])
def test_only_a_wrong_record_is_given_up(stub_server: ThreadingHTTPServer, status: int, tmp_path: Path) -> None:
    """MLflow's own client says so in different ways for each of these answers."""
    prepare()
    journal = Journal(tmp_path / "tracking")
    journal.append(Parameters(values={"a": "1"}))
    journal.append(Metrics(step=0, time=1, values={"loss": 1.0}))
    cast(Any, stub_server).statuses = [status]
    delivery = Delivery(MlflowClient(f"http://127.0.0.1:{stub_server.server_port}"), "1", journal)
    refused: list[Exception] = []
    if status == 400:
        assert delivery.send_unsent(refused.append) == 1
        assert (len(refused), journal.left) == (1, 1)
        return
    with pytest.raises(MlflowException) as raised:
        delivery.send_unsent(refused.append)
    assert not is_refusal(raised.value)
    assert (refused, journal.left) == ([], 2)
    assert delivery.send_unsent(refused.append) == 2
    assert (refused, journal.left) == ([], 0)


def test_only_files_of_the_run_are_sent(run: Path) -> None:
    """A journal from elsewhere may name any file, or hold links to it."""
    (run.parent / "secret").write_text("x")
    (run / "folder").mkdir()
    (run / "folder" / "link").symlink_to(run.parent / "secret")
    journal = Journal(run / "tracking")
    for path in ("../secret", str(run.parent / "secret"), "folder", "gone"):
        journal.append(Artifact(path=path))
    journal.append(Ending(status="FINISHED", time=1))
    client = StubClient()
    client.gate.set()
    refused: list[Exception] = []
    assert Delivery(cast(MlflowClient, client), "1", journal).send_unsent(refused.append) == 1
    assert client.calls == ["set_terminated"]
    assert ["outside" in str(error) for error in refused] == [True, True, True, False]
    assert "gone" in str(refused[-1])


def test_the_load_of_the_machine_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmdc_ray.tracking.system.SECONDS", 0.001)
    samples: list[tuple[int, dict[str, float]]] = []
    enough = threading.Event()

    def report(number: int, values: Any) -> None:
        samples.append((number, dict(values)))
        if len(samples) == 3:
            enough.set()

    sampler = SystemSampler(report, 5)
    assert enough.wait(60)
    sampler.stop()
    count = len(samples)
    assert [number for number, _ in samples] == list(range(5, 5 + count))
    values = samples[0][1]
    assert 0 <= values["system/cpu_utilization_percentage"] <= 100
    assert 0 < values["system/system_memory_usage_percentage"] <= 100
    assert 0 < values["system/disk_usage_percentage"] <= 100
