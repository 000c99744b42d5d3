"""The command ``hmdc sync-tracking`` over a database, in this process."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from mlflow_server import Store, artifacts, both_forms, history, picture_steps, shared_store
from whole_runs import CommandLine

from hmdc_ray.config import TrackingConfig
from hmdc_ray.tracking import Tracker
from hmdc_ray.tracking.delivery import Delivery
from hmdc_ray.tracking.journal import Journal

STEPS = 30


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return shared_store(tmp_path_factory.getbasetemp())


@pytest.fixture
def hmdc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch, capsys)


@pytest.fixture(scope="module")
def template(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database, and two runs that could send nothing."""

    def away(self: Delivery, refused: object) -> int:
        raise ConnectionError("away")

    home = tmp_path_factory.mktemp("template")
    store.copy_database(home / "mlflow.db")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.setattr(Delivery, "send_unsent", away)
        for name in ("one", "two"):
            config = TrackingConfig(uri=f"sqlite:///{home / 'mlflow.db'}")
            tracker = Tracker.open(config, name, home / "search" / name, {})
            tracker.parameters({"seed": name})
            tracker.dataset("digits", "", "f", {}, {})
            for step in range(STEPS):
                tracker.metrics(step, {"loss": step / 2})
            tracker.image("images", np.zeros((4, 4, 3), np.uint8), STEPS)
            (home / "search" / name / "config.yaml").write_text("seed: 1")
            tracker.artifacts([home / "search" / name / "config.yaml"])
            tracker.finish("FINISHED")
    return home


@pytest.fixture
def home(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same for one test; its database is told by the environment."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return tmp_path


def check_complete(home: Path, name: str) -> None:
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("hmdc-ray")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": name}
    assert history(client, run.info.run_id, "loss") == [(step, step / 2) for step in range(STEPS)]
    assert picture_steps(client, run.info.run_id) == both_forms(STEPS)
    assert artifacts(client, run.info.run_id) == {"config.yaml", "images"}
    assert run.inputs is not None and len(run.inputs.dataset_inputs) == 1


def test_all_that_is_missing_is_sent_once(hmdc: CommandLine, home: Path) -> None:
    assert hmdc.succeeds("sync-tracking", "search/one") == "search/one  35 records sent\n"
    check_complete(home, "one")
    out = hmdc.succeeds("sync-tracking", "search")
    assert out == "search/one  nothing was missing\nsearch/two  35 records sent\n"
    for name in ("one", "two"):
        check_complete(home, name)


def test_an_old_copy_of_a_run_changes_nothing(hmdc: CommandLine, home: Path) -> None:
    """As the checkpoints of a trial hold it."""
    copy = home / "search" / "a" / "checkpoint"
    shutil.copytree(home / "search" / "one", copy)
    records = copy / "tracking" / "records.jsonl"
    killed = '{"kind":"ending","status":"KILLED","time":1}'
    records.write_text("\n".join([*records.read_text().splitlines()[:3], killed, ""]))
    out = hmdc.succeeds("sync-tracking", "search")
    assert out == "search/one  35 records sent\nsearch/two  35 records sent\n"
    check_complete(home, "one")


def test_lost_receipts_double_nothing(hmdc: CommandLine, home: Path) -> None:
    """The machine failed before they were on the disk."""
    for _ in range(2):
        assert hmdc.succeeds("sync-tracking", "search/one") == "search/one  35 records sent\n"
        (home / "search" / "one" / "tracking" / "sent.jsonl").unlink()
    check_complete(home, "one")


def test_a_run_that_goes_on_is_left_alone(hmdc: CommandLine, home: Path) -> None:
    journal = Journal.reopen(home / "search" / "one" / "tracking")
    out = hmdc.succeeds("sync-tracking", "search")
    assert out == "search/one  still running, sends its records itself\nsearch/two  35 records sent\n"
    journal.close()


def test_what_is_refused_is_told(hmdc: CommandLine, home: Path) -> None:
    (home / "search" / "one" / "config.yaml").unlink()
    outcome = hmdc("sync-tracking", "search")
    assert outcome.code == 1
    assert outcome.out == "search/one  34 records sent\nsearch/two  35 records sent\n"
    assert outcome.err.startswith("error: MLflow refused 1 records, the first of search/one: ")
    assert "config.yaml is gone" in outcome.err and outcome.err.count("\n") == 1


def test_the_remembered_address_serves_without_the_environment(
    hmdc: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    run = home / "search" / "one" / "tracking" / "run.json"
    run.write_text(run.read_text().replace(run.read_text().split('"sqlite:///')[1].split("/mlflow.db")[0], str(home)))
    assert "35 records sent" in hmdc.succeeds("sync-tracking", "search/one")
    check_complete(home, "one")


@pytest.mark.parametrize(
    ("folder", "address", "message"),
    [
        ("nowhere", None, "nowhere is no folder: name the folder of a run"),
        ("mlflow.db", None, "mlflow.db is no folder: name the folder of a run"),
        ("empty", None, r"empty holds no tracked run (no tracking/run.json): name the folder of a run"),
        ("search", "http://127.0.0.1:9", "MLFLOW_TRACKING_URI 'http://127.0.0.1:9' does not answer"),
        ("search", "other", "knows no run '"),
    ],
)
def test_bad_input_is_one_line(
    hmdc: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch, folder: str, address: str | None, message: str
) -> None:
    (home / "empty").mkdir()
    if address == "other":
        shutil.copy(home / "mlflow.db", home / "other.db")
        with sqlite3.connect(home / "other.db") as database:
            database.execute("DELETE FROM runs")
        address = f"sqlite:///{home / 'other.db'}"
    if address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    outcome = hmdc("sync-tracking", folder)
    assert outcome.code == 2
    assert outcome.out == ""
    assert message in outcome.err and outcome.err.count("\n") == 1
