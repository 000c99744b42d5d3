"""What is tracked is read back through MLflow's client, from the database beside the runs."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from mlflow_server import Store, artifacts, both_forms, history, picture_steps, shared_store
from PIL import Image

from hmdc_ray.config import RunConfig, TrackingConfig
from hmdc_ray.config.io import flatten
from hmdc_ray.errors import InputError
from hmdc_ray.tracking import Address, NoTracker, Tracker, Tracking, check_store
from hmdc_ray.tracking.tags import run_tags


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests name their own store, whatever the environment says."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return shared_store(tmp_path_factory.getbasetemp())


def open_run(store: Store, folder: str = "second", **more: Any) -> Tracker:
    return Tracker.open(TrackingConfig(), "second", store.folder / folder, {"preset": "digits", "seed": "3"}, **more)


def test_the_terminal_stays_clean(store: Store) -> None:
    assert store.terminal == ""


def test_the_store_lies_beside_the_runs(store: Store) -> None:
    assert {entry.name for entry in store.folder.iterdir()} <= {
        "mlflow.db",
        "mlflow.db.lock",
        "mlruns",
        "first",
        "second",
    }
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
    run_folder = store.folder / "second"
    (run_folder / "folder").mkdir()
    (run_folder / "folder" / "inner.txt").write_text("inner")
    (run_folder / "config.yaml").write_text("seed: 3")
    tracker.artifacts(run_folder.iterdir())
    tracker.finish("FINISHED")
    tracker.finish("FAILED")

    run = store.client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "second"
    assert run.data.params == {name: str(value) for name, value in flat.items()}
    assert run.data.tags["preset"] == "digits"
    assert run.data.tags["hmdc_ray.version"]
    assert "mlflow.parentRunId" not in run.data.tags
    assert history(store.client, tracker.run_id, "loss/vit") == [(step, step / 2) for step in range(700)]
    assert run.data.metrics["odd_name"] == 1.0
    assert math.isnan(run.data.metrics["diverged"])
    assert run.data.metrics["endless"] > 1e300
    assert run.inputs is not None
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest, entry.dataset.source) == ("digits", "f" * 36, '{"uri": "/data/digits"}')
    assert "16x16x1" in str(entry.dataset.schema)
    assert entry.dataset.profile == '{"train": 100}'

    assert artifacts(store.client, tracker.run_id) == {"config.yaml", "folder", "images"}
    assert artifacts(store.client, tracker.run_id, "folder") == {"folder/inner.txt"}
    assert picture_steps(store.client, tracker.run_id) == both_forms(50)
    (png,) = [path for path in artifacts(store.client, tracker.run_id, "images") if path.endswith(".png")]
    with Image.open(store.client.download_artifacts(tracker.run_id, png, str(tmp_path))) as image:
        assert np.array_equal(np.asarray(image), np.arange(24).reshape(2, 4, 3))
    assert str(store.folder / "mlflow.db") in tracker.location
    assert f"/runs/{tracker.run_id}" in tracker.location


def test_a_child_names_its_parent(store: Store) -> None:
    tracker = open_run(store, parent=store.run_id)
    tracker.finish("FINISHED")
    assert store.client.get_run(tracker.run_id).data.tags["mlflow.parentRunId"] == store.run_id


def test_pictures_have_the_names_that_mlflow_gives_them(store: Store) -> None:
    """Its pages read series, step and time from the names."""
    picture = np.zeros((8, 400, 3), np.uint8)
    tracker = open_run(store)
    tracker.image("grids/condensed", picture, 7)
    tracker.finish("FINISHED")
    theirs = store.client.create_run("0").info.run_id
    store.client.log_image(theirs, picture, key="grids/condensed", step=7, synchronous=True)

    def patterns(run_id: str) -> set[str]:
        return {re.sub(r"timestamp\+\d+\+[0-9a-f-]{36}", "", path) for path in artifacts(store.client, run_id, "images")}

    assert patterns(tracker.run_id) == patterns(theirs)
    flag = "mlflow.loggedImages"
    assert store.client.get_run(tracker.run_id).data.tags[flag] == store.client.get_run(theirs).data.tags[flag]


def test_a_run_goes_on_and_a_step_done_again_counts_once(store: Store) -> None:
    assert store.client.get_run(store.run_id).info.status == "KILLED"
    tracker = open_run(store, run_id=store.run_id, folder="first")
    assert tracker.run_id == store.run_id
    assert store.client.get_run(store.run_id).info.status == "RUNNING"
    assert (tracker.last_step("loss"), tracker.last_step("never")) == (1, 0)
    tracker.metrics(1, {"loss": 1.0, "later": 3.0})
    tracker.metrics(2, {"loss": 0.5})
    for step in (1, 2):
        tracker.image("images", np.zeros((2, 2, 3), np.uint8), step)
    tracker.finish("FAILED")
    assert store.client.get_run(store.run_id).info.status == "FAILED"
    assert history(store.client, store.run_id, "loss") == [(1, 1.0), (2, 0.5)]
    assert history(store.client, store.run_id, "later") == [(1, 3.0)]
    assert picture_steps(store.client, store.run_id) == both_forms(1, 2)


@pytest.mark.parametrize("journal", ["lost", "old"])
def test_what_only_the_server_holds_counts_too(store: Store, tmp_path: Path, journal: str) -> None:
    """The folder is gone, or brought back as it was before the last steps."""
    folder = store.folder / "second"
    tracker = open_run(store)
    for step in range(6):
        tracker.metrics(step, {"loss": step / 2})
        tracker.image("grids/a", np.zeros((2, 2, 3), np.uint8), step)
        if step == 2:
            tracker.finish("KILLED")
            shutil.copytree(folder, tmp_path / "saved")
            tracker = open_run(store, run_id=tracker.run_id)
    tracker.metrics(9, {"accuracy": 1.0})
    tracker.finish("KILLED")
    shutil.rmtree(folder)
    if journal == "old":
        shutil.copytree(tmp_path / "saved", folder)
    again = open_run(store, run_id=tracker.run_id)
    assert (again.last_step("loss"), again.last_step("accuracy"), again.last_step("never")) == (5, 9, 0)
    for step in range(8):
        again.metrics(step, {"loss": step / 2})
        again.image("grids/a", np.zeros((2, 2, 3), np.uint8), step)
    again.metrics(9, {"accuracy": 1.0})
    again.finish("FINISHED")
    assert history(store.client, tracker.run_id, "loss") == [(step, step / 2) for step in range(8)]
    assert history(store.client, tracker.run_id, "accuracy") == [(9, 1.0)]
    assert picture_steps(store.client, tracker.run_id) == both_forms(*range(8))


def test_a_forgotten_run_is_started_anew_with_all_that_its_folder_holds(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    first = open_run(store)
    first.metrics(1, {"loss": 1.0})
    first.finish("KILLED")
    store.client.delete_run(first.run_id)
    again = open_run(store, run_id=first.run_id)
    assert again.last_step("loss") == 1
    again.finish("FINISHED")
    assert again.run_id != first.run_id
    assert "a new one is started" in caplog.text
    assert history(store.client, again.run_id, "loss") == [(1, 1.0)]
    assert store.client.get_run(again.run_id).info.status == "FINISHED"


def test_the_environment_names_the_store(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store.folder / 'mlflow.db'}")
    tracker = Tracker.open(TrackingConfig(experiment="other"), "third", tmp_path / "run", {})
    tracker.finish("FINISHED")
    experiment = store.client.get_experiment(store.client.get_run(tracker.run_id).info.experiment_id)
    assert experiment.name == "other"
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_the_user_names_keeps_its_files_beside_it(store: Store, tmp_path: Path) -> None:
    config = TrackingConfig(uri=f"sqlite:///{tmp_path / 'stores' / 'mine.db'}", experiment="mine")
    store.copy_database(tmp_path / "stores" / "mine.db")
    tracker = Tracker.open(config, "run", tmp_path / "runs" / "run", {})
    tracker.finish("FINISHED")
    found = MlflowClient(config.uri).get_run(tracker.run_id).info.artifact_uri
    assert found.startswith((tmp_path / "stores" / "mlruns").as_uri())


@pytest.mark.parametrize("name", ["what?", "x?uri=true", "a#b", "a%41b", "100%", "a b", "été"])
def test_the_store_lies_beside_runs_whatever_their_folder_is_called(name: str, store: Store, tmp_path: Path) -> None:
    runs = tmp_path / name
    store.copy_database(runs / "mlflow.db")
    (runs / "run").mkdir()
    (runs / "run" / "noted.txt").write_text("noted")
    tracker = Tracker.open(TrackingConfig(experiment="own"), "run", runs / "run", {})
    tracker.artifacts([runs / "run" / "noted.txt"])
    tracker.finish("FINISHED")
    with sqlite3.connect(runs / "mlflow.db") as database:
        assert database.execute("SELECT status FROM runs WHERE run_uuid = ?", [tracker.run_id]).fetchall() == [("FINISHED",)]
    assert [path.read_text() for path in (runs / "mlruns").rglob("noted.txt")] == ["noted"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    shown = shlex.split(tracker.location.splitlines()[0])[-1]  # what the printed command opens
    assert MlflowClient(shown).get_run(tracker.run_id).info.status == "FINISHED"
    assert Address(shown, "test").database == runs / "mlflow.db"
    assert Address(Address(shown, "test").remembered or "", "test").database == runs / "mlflow.db"


def test_a_database_server_that_nobody_serves_is_told_at_once(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    uri = f"postgresql+psycopg2://me:secret@127.0.0.1:{port}/mlflow"
    with pytest.raises(InputError, match=rf"tracking.uri 'postgresql.*//127.0.0.1:{port}/mlflow' does not answer .*refused"):
        check_store(Address(uri, "tracking.uri"))


def test_a_named_pipe_is_no_database(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mlflow.db")
    with pytest.raises(InputError, match=r"mlflow\.db' is not a file"):
        check_store(Address.chosen(None, tmp_path / "run"))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "http://127.0.0.1:9",
            "tracking.uri 'http://127.0.0.1:9' does not answer (.*refused.*): is the MLflow server running.*enabled=false",
        ),
        ("ftp:/nowhere", "tracking.uri 'ftp:/nowhere' cannot be used: .*must be a working MLflow store"),
        ("sqlite:////nowhere/at/all.db", "tracking.uri 'sqlite:////nowhere/at/all.db' cannot be used: there is no folder"),
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
    assert "mlflow.source.git.commit" not in run_tags(None)
    git.write_text("#!/bin/sh\necho 0123abc\n")
    git.chmod(0o755)
    assert run_tags(None)["mlflow.source.git.commit"] == "0123abc"
    git.write_text("#!/bin/sh\necho 'not a repository' >&2; exit 128\n")
    assert "mlflow.source.git.commit" not in run_tags(None)
