"""What is tracked is read back through MLflow's client; a server's faults never reach the run."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from hmdc_ray import tracking
from hmdc_ray.config import RunConfig, TrackingConfig
from hmdc_ray.config.io import flatten
from hmdc_ray.errors import InputError
from hmdc_ray.tracking import NoTracker, Tracker, Tracking

OPEN_FIRST_RUN = """
import sys
from pathlib import Path
from hmdc_ray.config import TrackingConfig
from hmdc_ray.tracking import Tracker
assert "mlflow" not in sys.modules, "importing the package must not import mlflow, which is slow"
tracker = Tracker.open(TrackingConfig(), "first", Path(sys.argv[1]), {"preset": "digits"})
tracker.metrics(1, {"loss": 1.0})
tracker.finish("KILLED")
Path(sys.argv[2]).write_text(tracker.run_id)
"""


@dataclass
class Store:
    """A database made, with one killed run, by a process of its own."""

    folder: Path
    run_id: str
    terminal: str
    client: MlflowClient


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    runs = tmp_path_factory.mktemp("runs")
    noted = tmp_path_factory.mktemp("noted") / "run_id"
    command = [sys.executable, "-c", OPEN_FIRST_RUN, str(runs / "first"), str(noted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Store(runs, noted.read_text(), done.stdout + done.stderr, MlflowClient(f"sqlite:///{runs / 'mlflow.db'}"))


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests use their own store, whatever the environment says."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield


def open_run(store: Store, **more: Any) -> Tracker:
    return Tracker.open(TrackingConfig(), "second", store.folder / "second", {"preset": "digits", "seed": "3"}, **more)


def test_the_terminal_stays_clean(store: Store) -> None:
    assert store.terminal == ""


def test_the_store_lies_beside_the_runs(store: Store) -> None:
    assert {entry.name for entry in store.folder.iterdir()} <= {"mlflow.db", "mlflow.db.lock", "mlruns"}
    assert store.client.get_run(store.run_id).info.artifact_uri.startswith((store.folder / "mlruns").as_uri())


def test_a_run_reads_back(store: Store, tmp_path: Path) -> None:
    tracker = open_run(store)
    flat = flatten(RunConfig())
    tracker.parameters(flat)
    for step in range(700):
        tracker.metrics(step, {"loss/vit": step / 2, "odd=name": 1.0})
    tracker.metrics(700, {"diverged": math.nan, "endless": math.inf})
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    tracker.image("images", picture, 50)
    picture[:] = 0
    tracker.dataset("digits", "/data/digits", "f" * 64, {"image": "uint8 16x16x1"}, {"train": 100})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner.txt").write_text("inner")
    (tmp_path / "config.yaml").write_text("seed: 3")
    tracker.artifacts([tmp_path / "config.yaml", tmp_path / "folder"])
    tracker.finish("FINISHED")
    tracker.finish("FAILED")

    run = store.client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "second"
    assert run.data.params == {name: str(value) for name, value in flat.items()}
    assert run.data.tags["preset"] == "digits"
    assert run.data.tags["hmdc_ray.version"]
    history = store.client.get_metric_history(tracker.run_id, "loss/vit")
    assert [(metric.step, metric.value) for metric in sorted(history, key=lambda m: m.step)] == [(s, s / 2) for s in range(700)]
    assert run.data.metrics["odd_name"] == 1.0
    assert math.isnan(run.data.metrics["diverged"])
    assert run.data.metrics["endless"] > 1e300
    assert run.inputs is not None
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest, entry.dataset.source) == ("digits", "f" * 36, '{"uri": "/data/digits"}')
    assert "16x16x1" in str(entry.dataset.schema)
    assert entry.dataset.profile == '{"train": 100}'

    def stored(folder: str | None = None) -> list[str]:
        return sorted(entry.path for entry in store.client.list_artifacts(tracker.run_id, folder))

    assert stored() == ["config.yaml", "folder", "images"]
    assert stored("folder") == ["folder/inner.txt"]
    (png,) = [path for path in stored("images") if path.endswith(".png")]
    assert "images+step+50+" in png
    from PIL import Image

    with Image.open(store.client.download_artifacts(tracker.run_id, png, str(tmp_path))) as image:
        assert np.array_equal(np.asarray(image), np.arange(24).reshape(2, 4, 3))
    assert str(store.folder / "mlflow.db") in tracker.location
    assert f"/runs/{tracker.run_id}" in tracker.location


def test_a_killed_run_goes_on(store: Store) -> None:
    assert store.client.get_run(store.run_id).info.status == "KILLED"
    tracker = open_run(store, run_id=store.run_id)
    assert tracker.run_id == store.run_id
    assert store.client.get_run(store.run_id).info.status == "RUNNING"
    tracker.metrics(2, {"loss": 0.5})
    tracker.finish("FAILED")
    assert store.client.get_run(store.run_id).info.status == "FAILED"
    assert [metric.step for metric in store.client.get_metric_history(store.run_id, "loss")] == [1, 2]


def test_a_forgotten_run_is_started_anew(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    tracker = open_run(store, run_id="0" * 32)
    tracker.finish("FINISHED")
    assert tracker.run_id != "0" * 32
    assert "a new one is started" in caplog.text


def test_the_environment_names_the_store(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store.folder / 'mlflow.db'}")
    tracker = Tracker.open(TrackingConfig(experiment="other"), "third", tmp_path / "run", {})
    tracker.finish("FINISHED")
    experiment = store.client.get_experiment(store.client.get_run(tracker.run_id).info.experiment_id)
    assert experiment.name == "other"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "http://127.0.0.1:9",
            "tracking.uri 'http://127.0.0.1:9' does not answer (.*refused.*): is the MLflow server running.*enabled=false",
        ),
        ("ftp:/nowhere", "tracking.uri 'ftp:/nowhere' cannot be used: .*must be a working MLflow store"),
        ("sqlite:////nowhere/at/all.db", "/nowhere/at/all.db.lock cannot be locked: No such file or directory"),
    ],
)
def test_an_address_that_does_not_work_is_named(uri: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")):
        Tracker.open(TrackingConfig(uri=uri), "run", tmp_path / "run", {})
    assert list(tmp_path.iterdir()) == []


def test_an_address_from_the_environment_is_named_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"^MLFLOW_TRACKING_URI 'http://127\.0\.0\.1:9' does not answer"):
        Tracker.open(TrackingConfig(), "run", tmp_path / "run", {})


def test_a_deleted_experiment_is_named(store: Store) -> None:
    experiment = store.client.create_experiment("gone")
    store.client.delete_experiment(experiment)
    config = TrackingConfig(uri=f"sqlite:///{store.folder / 'mlflow.db'}", experiment="gone")
    with pytest.raises(InputError, match=r"cannot be used: .*active"):
        Tracker.open(config, "run", store.folder / "run", {})


class FaultyClient:
    """Records calls; waits for ``gate`` in each, and fails in ``log_batch``."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.gate = threading.Event()

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        self.gate.wait()
        self.calls.append("log_batch")
        raise ConnectionError("server gone")

    def set_terminated(self, run_id: str, status: str) -> None:
        self.gate.wait()
        self.calls.append(status)


def test_faults_in_the_middle_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    client = FaultyClient()
    tracker = Tracker(cast(MlflowClient, client), "id", "nowhere")
    tracker.metrics(0, {"loss": 1.0})
    tracker.parameters({"a": 1})
    tracker.parameters({"b": 1})
    assert client.calls == []  # nobody has waited for the server
    client.gate.set()
    tracker.finish("FINISHED")
    assert client.calls == ["log_batch", "log_batch", "log_batch", "FINISHED"]
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["MLflow records of this run are incomplete (server gone); the run goes on"]


def test_a_server_that_hangs_does_not_keep_a_stopped_run(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tracking.FINISH_SECONDS, "KILLED", 0.01)
    client = FaultyClient()
    tracker = Tracker(cast(MlflowClient, client), "id", "nowhere")
    tracker.metrics(0, {"loss": 1.0})
    tracker.finish("KILLED")
    assert client.calls == []
    assert "takes too long to answer" in caplog.text
    client.gate.set()


def test_without_tracking_nothing_happens(tmp_path: Path) -> None:
    tracker: Tracking = NoTracker()
    tracker.parameters({"a": 1})
    tracker.metrics(0, {"loss": 1.0})
    tracker.image("images", np.zeros((1, 1, 3), np.uint8), 0)
    tracker.dataset("digits", "", "", {}, {})
    tracker.artifacts([tmp_path / "none"])
    tracker.finish("FINISHED")
    assert (tracker.run_id, tracker.location) == ("", "")


def test_the_commit_is_recorded_where_git_knows_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = tmp_path / "git"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "mlflow.source.git.commit" not in tracking._system_tags()
    git.write_text("#!/bin/sh\necho 0123abc\n")
    git.chmod(0o755)
    assert tracking._system_tags()["mlflow.source.git.commit"] == "0123abc"
    git.write_text("#!/bin/sh\necho 'not a repository' >&2; exit 128\n")
    assert "mlflow.source.git.commit" not in tracking._system_tags()
