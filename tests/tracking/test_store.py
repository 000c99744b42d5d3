"""The address of a store: where it is, and what is said of one that does not work."""

from __future__ import annotations

import os
import shlex
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from hmdc_ray.config import TrackingConfig
from hmdc_ray.errors import InputError
from hmdc_ray.tracking import Address, check_store, connect
from tracking.mlflow_server import Store, recorded


def test_a_database_that_the_user_names_keeps_its_files_beside_it(store: Store, tmp_path: Path) -> None:
    config = TrackingConfig(uri=f"sqlite:///{tmp_path / 'stores' / 'mine.db'}", experiment="mine")
    store.copy_database(tmp_path / "stores" / "mine.db")
    tracker = recorded(tmp_path / "runs" / "run", config)
    tracker.finish("FINISHED")
    found = MlflowClient(config.uri).get_run(tracker.run_id).info.artifact_uri
    assert found.startswith((tmp_path / "stores" / "mlruns").as_uri())


@pytest.mark.parametrize("name", ["what?", "x?uri=true", "a#b", "a%41b", "100%", "a b", "été"])
def test_the_store_lies_beside_runs_whatever_their_folder_is_called(name: str, store: Store, tmp_path: Path) -> None:
    runs = tmp_path / name
    store.copy_database(runs / "mlflow.db")
    (runs / "run").mkdir()
    (runs / "run" / "noted.txt").write_text("noted")
    tracker = recorded(runs / "run", TrackingConfig(experiment="own"))
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


def test_a_process_that_ends_while_it_makes_a_database_leaves_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def killed(*, tracking_uri: str) -> None:
        Path(tracking_uri.removeprefix("sqlite:///")).write_bytes(b"the first tables")
        raise KeyboardInterrupt

    monkeypatch.setattr("mlflow.tracking.MlflowClient", killed)
    with pytest.raises(KeyboardInterrupt):
        connect(Address(f"sqlite:///{tmp_path / 'mlflow.db'}", "tracking.uri"))
    assert not (tmp_path / "mlflow.db").exists()


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
        recorded(tmp_path / "run", TrackingConfig(uri=uri))
    assert list(tmp_path.iterdir()) == []


def test_an_address_from_the_environment_is_named_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"^MLFLOW_TRACKING_URI 'http://127\.0\.0\.1:9' does not answer"):
        recorded(tmp_path / "run")


def test_a_deleted_experiment_is_named(store: Store) -> None:
    experiment = store.client.create_experiment("gone")
    store.client.delete_experiment(experiment)
    config = TrackingConfig(uri=f"sqlite:///{store.folder / 'mlflow.db'}", experiment="gone")
    with pytest.raises(InputError, match=r"cannot be used: .*active"):
        recorded(store.folder / "run", config)
