"""A tracker is brought to the state of a run's files, by ``hmdc sync-tracking`` too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from whole_runs import CommandLine

from hmdc_ray.config import TrackingConfig
from hmdc_ray.system.files import append_json_line
from hmdc_ray.system.locks import lock_for_life
from hmdc_ray.tracking import Recorder, Sender, count_unsent
from hmdc_ray.tracking.recorder import FINISH_SECONDS
from hmdc_ray.tracking.records import Artifact, Metrics, State
from hmdc_ray.tracking.sender import BATCH_VALUES
from tracking.mlflow_server import Store, StubTracker, artifacts, both_forms, history, picture_steps, steps

STEPS = 30
LINES = STEPS + 5  # parameters, data set, picture, artifact and ending


def open_stub(*faults: Exception | None) -> StubTracker:
    tracker = StubTracker(*faults)
    tracker.gate.set()
    return tracker


def record(run: Path, *records: Artifact | Metrics | State) -> None:
    (run / "tracking").mkdir(exist_ok=True)
    for entry in records:
        append_json_line(run / "tracking" / "records.jsonl", entry.model_dump())


def send(tracker: StubTracker, run: Path) -> list[str]:
    """What a new process calls, which sends all there is."""
    tracker.calls.clear()
    tracker.sender(run).send(lambda error: tracker.calls.append((str(error),)))
    return [name for name, *_ in tracker.calls]


def test_metrics_come_together_and_no_more_than_mlflow_takes(run: Path) -> None:
    steps(run, *range(1, 100))
    record(run, *(Metrics(step=step, time=0, values={str(name): 0.0 for name in range(7)}) for step in range(1000)))
    record(run, Metrics(step=0, time=0, values={f"x{name}": 0.0 for name in range(BATCH_VALUES + 1)}))
    tracker = open_stub()
    send(tracker, run)
    sizes = [len(values) for _, values in tracker.calls[1:]]
    assert max(sizes) == BATCH_VALUES and sum(sizes) == 99 + 7000 + BATCH_VALUES + 1
    assert len(sizes) == 10 and len({(value.name, value.step) for _, values in tracker.calls[1:] for value in values}) == 8100
    assert send(tracker, run) == ["open"]


@pytest.mark.parametrize("sent", range(5))
def test_what_is_not_sent_is_sent_by_the_next_process(run: Path, sent: int) -> None:
    """Whatever call fails first; a line torn by a crash, here and there, is none."""
    steps(run, 1, 2)
    record(run, State(status="KILLED", time=1), Artifact(path="config.yaml"), Metrics(step=1, time=2, values={"a": 1.0}))
    record(run, State(status="FINISHED", time=3))
    for name in ("metrics.jsonl", "tracking/records.jsonl"):
        with (run / name).open("a") as file:
            file.write('{"kind":"metrics","st')
    done = ["open", "metrics", "artifact", "metrics", "status"]  # the run went on after the first ending
    tracker = open_stub(*[None] * sent, ConnectionError("away"))
    with pytest.raises(ConnectionError):
        tracker.sender(run).send(lambda error: None)
    assert tracker.names == done[:sent]
    assert send(tracker, run) == ["open", *done[max(1, sent) :]]


def test_steps_that_a_resumed_run_did_again_keep_their_first_values(run: Path) -> None:
    steps(run, 1, 2, 3)
    tracker = open_stub()
    send(tracker, run)
    (run / "metrics.jsonl").unlink()
    steps(run, 1, 2, 3, 4, time=70)
    assert count_unsent(run) == 1
    send(tracker, run)
    assert tracker.calls[1:] == [("metrics", [("loss", 2.0, 74, 4)])]


def test_a_run_without_what_was_noted_of_it_is_sent_as_another(run: Path) -> None:
    steps(run, 1)
    record(run, State(status="FINISHED", time=3))
    tracker = open_stub()
    assert send(tracker, run) == ["open", "metrics", "status"]
    shutil.rmtree(run / "tracking")
    assert send(tracker, run) == ["open", "metrics"]
    record(run, State(status="FINISHED", time=3))
    assert send(tracker, run) == ["open", "status"]
    (run / "tracking" / "records.jsonl").write_text("")
    assert send(tracker, run) == ["open"]


def test_only_files_of_the_run_are_sent(run: Path) -> None:
    """Records from elsewhere may name any file, or hold links to it."""
    (run.parent / "secret").write_text("x")
    (run / "folder").mkdir()
    (run / "folder" / "link").symlink_to(run.parent / "secret")
    record(run, *(Artifact(path=path) for path in ("../secret", str(run.parent / "secret"), "folder", "gone")))
    record(run, State(status="FINISHED", time=1))
    _, *refused, last = send(open_stub(), run)
    assert ["outside" in error for error in refused] == [True, True, True, False]
    assert "gone" in refused[-1] and last == "status"


@pytest.fixture
def hmdc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch, capsys)


@pytest.fixture(scope="module")
def template(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database, and two runs that never reached their store."""
    home = tmp_path_factory.mktemp("template")
    store.copy_database(home / "mlflow.db")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.setitem(FINISH_SECONDS, "FINISHED", 5.0)
        for name in ("one", "two"):
            run = home / "search" / name
            recorder = Recorder(Sender.of_run(TrackingConfig(uri="http://127.0.0.1:9"), name, run, {}))
            recorder.parameters({"seed": name})
            recorder.dataset("digits", "", "f", {}, {})
            steps(run, *range(1, STEPS + 1))
            recorder.image("images", np.zeros((4, 4, 3), np.uint8), STEPS)
            (run / "config.yaml").write_text("seed: 1")
            recorder.artifacts([run / "config.yaml"])
            recorder.finish("FINISHED")
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
    assert history(client, run.info.run_id, "loss") == [(step, step / 2) for step in range(1, STEPS + 1)]
    assert picture_steps(client, run.info.run_id) == both_forms(STEPS)
    assert artifacts(client, run.info.run_id) == {"config.yaml", "images"}
    assert run.inputs is not None and len(run.inputs.dataset_inputs) == 1


def test_all_that_is_missing_is_sent_once(hmdc: CommandLine, home: Path) -> None:
    assert hmdc.succeeds("sync-tracking", "search/one") == f"search/one  {LINES} records sent\n"
    check_complete(home, "one")
    out = hmdc.succeeds("sync-tracking", "search")
    assert out == f"search/one  nothing was missing\nsearch/two  {LINES} records sent\n"
    for name in ("one", "two"):
        check_complete(home, name)


def test_an_old_copy_of_a_run_changes_nothing(hmdc: CommandLine, home: Path) -> None:
    """As the checkpoints of a trial hold it."""
    copy = home / "search" / "a" / "checkpoint"
    shutil.copytree(home / "search" / "one", copy)
    records = copy / "tracking" / "records.jsonl"
    records.write_text("\n".join([*records.read_text().splitlines()[:3], ""]))
    record(copy, State(status="KILLED", time=1))
    out = hmdc.succeeds("sync-tracking", "search")
    assert out == f"search/one  {LINES} records sent\nsearch/two  {LINES} records sent\n"
    check_complete(home, "one")


def test_what_was_sent_without_being_noted_is_not_doubled(hmdc: CommandLine, home: Path) -> None:
    """The machine failed before they were on the disk."""
    for _ in range(2):
        assert hmdc.succeeds("sync-tracking", "search/one") == f"search/one  {LINES} records sent\n"
        noted = home / "search" / "one" / "tracking" / "run.json"
        noted.write_text(json.dumps(json.loads(noted.read_text()) | {"step": 0, "sent": 0}))
    check_complete(home, "one")


def test_a_run_that_goes_on_is_left_alone(hmdc: CommandLine, home: Path) -> None:
    lock = lock_for_life(home / "search" / "one")
    out = hmdc.succeeds("sync-tracking", "search")
    assert out == f"search/one  still running, sends its records itself\nsearch/two  {LINES} records sent\n"
    lock.release()


def test_what_is_refused_is_told(hmdc: CommandLine, home: Path) -> None:
    (home / "search" / "one" / "config.yaml").unlink()
    outcome = hmdc("sync-tracking", "search")
    assert outcome.code == 1
    assert outcome.out == f"search/one  {LINES - 1} records sent\nsearch/two  {LINES} records sent\n"
    assert outcome.err.startswith("error: MLflow refused 1 records, the first of search/one: ")
    assert "config.yaml is gone" in outcome.err and outcome.err.count("\n") == 1


def test_the_remembered_address_serves_without_the_environment(
    hmdc: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    run = home / "search" / "one" / "tracking" / "run.json"
    run.write_text(run.read_text().replace("http://127.0.0.1:9", f"sqlite:///{home / 'mlflow.db'}"))
    assert f"{LINES} records sent" in hmdc.succeeds("sync-tracking", "search/one")
    check_complete(home, "one")


def test_a_store_that_does_not_know_the_run_gets_all_of_it(
    hmdc: CommandLine, home: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hmdc.succeeds("sync-tracking", "search/one")
    store.copy_database(home / "other" / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'other' / 'mlflow.db'}")
    assert hmdc.succeeds("sync-tracking", "search/one") == "search/one  nothing was missing\n"
    steps(home / "search" / "one", STEPS + 1)
    assert hmdc("sync-tracking", "search/one").out == f"search/one  {LINES + 1} records sent\n"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    steps(home / "search" / "one", STEPS + 2)
    assert hmdc.succeeds("sync-tracking", "search/one") == "search/one  1 records sent\n"


@pytest.mark.parametrize(
    ("folder", "address", "message"),
    [
        ("nowhere", None, "nowhere is no folder: name the folder of a run"),
        ("mlflow.db", None, "mlflow.db is no folder: name the folder of a run"),
        ("empty", None, r"empty holds no tracked run (no tracking/run.json): name the folder of a run"),
        ("search", "http://127.0.0.1:9", "MLFLOW_TRACKING_URI 'http://127.0.0.1:9' does not answer"),
    ],
)
def test_bad_input_is_one_line(
    hmdc: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch, folder: str, address: str | None, message: str
) -> None:
    (home / "empty").mkdir()
    if address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    outcome = hmdc("sync-tracking", folder)
    assert outcome.code == 2
    assert outcome.out == ""
    assert message in outcome.err and outcome.err.count("\n") == 1
