"""Whole runs on Ray: what they leave behind, and that nothing but the seed and the configuration
decides the pixels."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
from mlflow.tracking import MlflowClient
from whole_runs import STEPS, pixels, tiniest, without_ray, write_config

from hmdc_ray import condense, evaluate, load_condensed
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import flatten, load_config
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.resources import Node, resolve
from hmdc_ray.run import execution
from hmdc_ray.run.events import read_events
from hmdc_ray.run.execution import RunSummary
from hmdc_ray.run.progress import Silent
from hmdc_ray.server.checkpoint import CheckpointFolder
from hmdc_ray.system.files import read_json_lines

KILL_AFTER = """
import os, signal, sys
from pathlib import Path
from hmdc_ray import condense
from hmdc_ray.config.io import load_config
from hmdc_ray.run.progress import Silent

class Killer(Silent):
    def step(self, done, total, metrics, left_out):
        if done == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

condense(load_config(Path(sys.argv[1])), sys.argv[2], resume=Path(sys.argv[2]).exists(), progress=Killer())
"""
STUDENTS = {"students": ["mlp", "lenet"]}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of runs with one MLflow database."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def reference(ray_local: None, home: Path, runs: Path) -> RunSummary:
    """A run on Ray that nobody disturbed."""
    return condense(tiniest(home, evaluation=STUDENTS, tracking={"enabled": True}), runs / "reference")


def losses(folder: Path) -> list[dict[str, Any]]:
    """All that was measured but the time."""
    records = read_json_lines(folder / "metrics.jsonl")
    times = ("time", "seconds/")
    return [{name: value for name, value in record.items() if not name.startswith(times)} for record in records]


class Recorder(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stage(self, text: str) -> None:
        self.told.append(text)

    def step(self, done: int, total: int, metrics: Mapping[str, float], left_out: Mapping[str, int]) -> None:
        self.told.append(f"{done}/{total}")

    def note(self, text: str) -> None:
        self.told.append(text)

    def resources(self, text: str) -> None:
        self.told.append(text)

    def trouble(self, text: str) -> None:
        self.told.append(text)

    def trial(self, done: int, total: int) -> None:
        self.told.append(f"{done}/{total}")


def test_a_run_leaves_everything_in_its_folder(reference: RunSummary, runs: Path, home: Path) -> None:
    folder = runs / "reference"
    assert reference.folder == folder
    assert {entry.name for entry in folder.iterdir()} - {".lock"} == {
        "config.yaml",
        "condensed.parquet",
        "images.png",
        "evaluation.json",
        "metrics.jsonl",
        "checkpoint",
        "tracking",
        "events.jsonl",
        "gradients.png",
        "matrix.png",
        "gains.png",
    }
    config = tiniest(home, evaluation=STUDENTS, tracking={"enabled": True})
    assert load_config(folder) == config
    stored = load_condensed(folder)
    assert stored.config == config.model_dump(mode="json")
    assert (len(stored), stored.class_names) == (3, ("0", "1", "2"))
    assert stored.images.numpy().tobytes() == reference.condensed.images.numpy().tobytes()
    latest = CheckpointFolder(folder / "checkpoint").latest()
    assert latest is not None and latest.version == STEPS
    assert [record["step"] for record in read_json_lines(folder / "metrics.jsonl")] == list(range(1, STEPS + 1))
    assert str(runs / "mlflow.db") in reference.tracking


def test_what_auto_became_is_on_record(reference: RunSummary) -> None:
    line = "2 members on 2 CPU cores; 1 thread each"
    assert (reference.folder / "config.yaml").read_text().startswith(f"# resources when this started: {line}\nname: tiny\n")
    (started,) = (event for event in read_events(reference.folder) if event.kind == "started")
    assert started.fields["resources"] == line


def test_a_run_resumed_elsewhere_keeps_its_threads_and_says_what_is_different(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun with auto on four cores, prolonged on eight, in this process."""
    without_ray(monkeypatch)
    recorder = Recorder()

    def on(cpus: float) -> None:
        monkeypatch.setattr(execution, "find_resources", lambda config: resolve(config, [Node(cpus)], lambda: [1, 1]))

    pool = {"members": ["lenet", "mlp"]}

    def config(iterations: int) -> RunConfig:
        return tiniest(home, pool=pool, cluster={"threads": "auto"}, schedule={"iterations": iterations})

    on(4.0)
    condense(config(1), tmp_path / "run")
    assert load_config(tmp_path / "run").cluster.threads == 2
    on(8.0)
    condense(config(2), tmp_path / "run", resume=True, progress=recorder)
    assert load_config(tmp_path / "run").cluster.threads == 2
    assert "until now the run had 2 members on 4 CPU cores (there is no GPU); 2 threads each" in recorder.told
    assert "2 members on 8 CPU cores (there is no GPU); 2 threads each" in recorder.told
    with pytest.raises(
        InputError, match=r"cluster.threads is 4, but the checkpoint in .* was made with 2: resume with the same"
    ):
        condense(tiniest(home, pool=pool, cluster={"threads": 4}), tmp_path / "run", resume=True)


def test_evaluating_again_gives_the_same_numbers(reference: RunSummary, home: Path) -> None:
    recorder = Recorder()
    again = evaluate(load_condensed(reference.folder), tiniest(home, evaluation=STUDENTS), progress=recorder)
    assert again == reference.evaluation
    assert re.fullmatch(r"4 trainings( in \d groups)? on the CPU, \d at a time, 1 thread each", recorder.told.pop(2))
    assert recorder.told == ["reading data", "evaluating", "0/4", "1/4", "2/4", "3/4", "4/4"]


def test_mlflow_holds_the_run(reference: RunSummary, runs: Path, home: Path) -> None:
    check_tracked(runs, reference.folder)
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    run = client.get_run(json.loads((reference.folder / "tracking" / "run.json").read_text())["run_id"])
    assert run.data.tags["classes_per_call"] == "3"  # the images are small
    config = tiniest(home, evaluation=STUDENTS, tracking={"enabled": True})
    assert run.data.params == {name: str(value) for name, value in flatten(config).items()}
    condensed = reference.evaluation.rows[0].condensed
    assert condensed is not None and run.data.metrics["accuracy/mlp_condensed"] == condensed.mean


def check_tracked(runs: Path, folder: Path) -> None:
    """MLflow holds every step of the run once, with the values of metrics.jsonl, its pictures, its
    data and its files."""
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    run = client.get_run(json.loads((folder / "tracking" / "run.json").read_text())["run_id"])
    assert run.info.status == "FINISHED"
    records = read_json_lines(folder / "metrics.jsonl")
    for name in ("loss/convnet_classification", "gbm/weight_lenet", "gradient/largest_distillation", "seconds/step"):
        history = client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in sorted(history, key=lambda metric: metric.step)] == list(range(1, STEPS + 1))
        if not name.startswith("seconds/"):
            assert {metric.step: metric.value for metric in history} == {record["step"]: record[name] for record in records}
    pictures = [entry.path for entry in client.list_artifacts(run.info.run_id, "images")]
    assert {step for step in range(STEPS + 1) if any(f"images~condensed+step+{step}+" in path for path in pictures)} == {
        0,
        3,
        6,
    }
    assert run.inputs is not None
    assert [entry.dataset.name for entry in run.inputs.dataset_inputs] == ["noise.parquet"]
    artifacts = {entry.path for entry in client.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "condensed.parquet", "images.png", "evaluation.json", "metrics.jsonl", "checkpoint"} <= artifacts


def test_classes_per_call_and_shards_do_not_change_the_pixels(reference: RunSummary, home: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    config = tiniest(home, matching={"classes_per_call": 2}, cluster={"server_shards": 2})
    condense(config, tmp_path / "run", progress=recorder)
    assert pixels(tmp_path / "run") == pixels(reference.folder)
    for ours, theirs in zip(losses(tmp_path / "run"), losses(reference.folder), strict=True):
        assert ours.pop("members") == theirs.pop("members")
        assert ours == pytest.approx(theirs, rel=1e-5)
    steps = [f"{step}/{STEPS}" for step in range(1, STEPS + 1)]
    stages = ["reading data", "starting the pool", "condensing"]
    assert recorder.told.pop(2).startswith("2 members on 2 CPU cores")
    assert recorder.told == [*stages, *steps, "evaluating", "0/0"]


def test_a_worker_without_room_for_a_class_is_told_of_and_changes_no_pixel(
    reference: RunSummary, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ray(monkeypatch)
    recorder = Recorder()
    condense(tiniest(home, cluster={"memory_per_worker": 0.0001}), tmp_path / "run", progress=recorder)
    assert pixels(tmp_path / "run") == pixels(reference.folder)
    assert "classes per call: 1 of 3" in recorder.told
    (line,) = (line for line in recorder.told if "more than" in line)
    assert "more than the limit of 0.0001 GB that cluster.memory_per_worker sets" in line
    started, *_ = read_events(tmp_path / "run")
    assert (started.kind, started.fields) == ("started", {"classes_per_call": 1, "resources": ""})
    assert load_config(tmp_path / "run").matching.classes_per_call is None  # a run that is resumed chooses anew


def test_the_seed_alone_decides_wherever_the_pool_lives(
    reference: RunSummary, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ray(monkeypatch)
    condense(tiniest(home), tmp_path / "same")
    condense(tiniest(home, seed=6), tmp_path / "other")
    assert pixels(tmp_path / "same") == pixels(reference.folder)
    assert pixels(tmp_path / "other") != pixels(reference.folder)


def test_a_run_killed_twice_goes_on_to_the_same_pixels(reference: RunSummary, runs: Path, home: Path) -> None:
    """The driver is killed in the middle of an iteration, with a step done that is in no
    checkpoint."""
    folder = runs / "killed"
    config = tiniest(home, evaluation=STUDENTS, tracking={"enabled": True})
    file = write_config(runs / "killed.yaml", config)
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    for step in (random.Random(2).choice([1, 3]), 5):  # any will do; checkpoints are at even ones
        command = [sys.executable, "-c", KILL_AFTER, str(file), str(folder), str(step)]
        killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert [record["step"] for record in read_json_lines(folder / "metrics.jsonl")] == list(range(1, step + 1))

    summary = condense(config, folder, resume=True)
    assert pixels(folder) == pixels(reference.folder)
    assert losses(folder) == losses(reference.folder)
    assert summary.evaluation == reference.evaluation
    check_tracked(runs, folder)


class Crash(BaseException):
    """Ends a run at once, as losing power would."""


class CrashAfter(Silent):
    def __init__(self, step: int) -> None:
        self._step = step

    def step(self, done: int, total: int, metrics: Mapping[str, float], left_out: Mapping[str, int]) -> None:
        if done == self._step:
            raise Crash


def test_crashes_at_every_step_change_nothing(
    reference: RunSummary, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ray(monkeypatch)
    for step in range(1, STEPS + 1):
        with pytest.raises(Crash):
            condense(tiniest(home), tmp_path / "run", resume=step > 1, progress=CrashAfter(step))
    condense(tiniest(home), tmp_path / "run", resume=True)
    assert pixels(tmp_path / "run") == pixels(reference.folder)
    assert losses(tmp_path / "run") == losses(reference.folder)


def test_a_finished_run_can_be_prolonged(
    reference: RunSummary, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ray(monkeypatch)
    condense(tiniest(home, schedule={"iterations": 1}), tmp_path / "run")
    assert pixels(tmp_path / "run") != pixels(reference.folder)
    condense(tiniest(home), tmp_path / "run", resume=True)
    assert pixels(tmp_path / "run") == pixels(reference.folder)
