"""A whole search on Ray: killed, resumed, one trial's process killed too; what it leaves in its
folder and in MLflow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import ray
from mlflow.tracking import MlflowClient
from ray.util.placement_group import placement_group_table
from whole_runs import STEPS, pixels, tiniest, without_ray, write_config

from hmdc_ray import condense
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import load_config
from hmdc_ray.errors import InputError
from hmdc_ray.search.judging import mean_accuracy
from hmdc_ray.search.records import RungRecord
from hmdc_ray.search.search import SearchSummary, search
from hmdc_ray.search.settings import WHOLE, SearchSettings
from hmdc_ray.search.trial import RECORDS_FILE
from hmdc_ray.system.files import read_json_lines

TRIALS = 3
DIE_ONCE = "die-once"
SPACE = f"""
import os, signal
from pathlib import Path
import ray
from ray import tune
from tune_spaces.fields import replace

def space():
    return {{"images.learning_rate": tune.loguniform(0.01, 1), "pool.members.convnet.loss_weight": tune.uniform(0.5, 2)}}

def apply(base, sample):
    mark = Path({DIE_ONCE!r})
    if mark.exists() and ray.is_initialized() and ray.get_runtime_context().get_actor_id():
        mark.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(base, sample)
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from hmdc_ray.config.io import load_config
from hmdc_ray.search.search import search
from hmdc_ray.search.settings import WHOLE, SearchSettings

class Killer:
    def stage(self, text): pass
    def stopped(self, number, trials): pass
    def failure(self, number, trials, reason, retried): print(reason, file=sys.stderr)
    def rung(self, number, trials, record):
        assert not record.problem, record
        if record.fidelity == WHOLE:
            os.kill(os.getpid(), signal.SIGKILL)

settings = SearchSettings(space="own_space", trials=3, scheduler="none", search="random", concurrent=2)
search(load_config(Path(sys.argv[1])), settings, Path(sys.argv[2]), progress=Killer())
"""
SETTINGS = SearchSettings(space="own_space", trials=TRIALS, scheduler="none", search="random", concurrent=2)


@dataclass
class Recorder:
    """Keeps what it is told, and the placement groups that there are meanwhile."""

    rungs: list[tuple[int, RungRecord]] = field(default_factory=list)
    failures: list[tuple[int, bool]] = field(default_factory=list)
    bundles: set[int] = field(default_factory=set)

    def stage(self, text: str) -> None:
        pass

    def stopped(self, number: int, trials: int) -> None:
        raise AssertionError("nothing stops these trials")

    def failure(self, number: int, trials: int, reason: str, retried: bool) -> None:
        self.failures.append((number, retried))

    def rung(self, number: int, trials: int, record: RungRecord) -> None:
        self.rungs.append((number, record))
        groups = placement_group_table().values()
        self.bundles |= {len(group["bundles"]) for group in groups if group["state"] == "CREATED"}


@dataclass(frozen=True)
class Resumed:
    """A search that was killed when its first trial had ended, and then resumed."""

    config: RunConfig
    summary: SearchSummary
    recorder: Recorder
    finished_before: dict[str, bytes]


def finished(folder: Path) -> dict[str, bytes]:
    """Metrics of the trials that have reached the last rung, by folder."""
    found = {}
    for trial in sorted((folder / "trials").iterdir()):
        if any(record["fidelity"] == WHOLE for record in read_json_lines(trial / RECORDS_FILE)):
            found[trial.name] = (trial / "metrics.jsonl").read_bytes()
    return found


@pytest.fixture(scope="module")
def resumed(ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resumed]:
    home = tmp_path_factory.mktemp("home")
    evaluation = {"students": ["mlp", "lenet"], "epochs": 2, "baselines": "none"}
    config = tiniest(home, evaluation=evaluation, tracking={"enabled": True})
    (home / "own_space.py").write_text(SPACE)
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        environment.chdir(home)
        environment.setattr(sys, "path", [*sys.path])
        file = write_config(home / "base.yaml", config)
        address = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
        command = [sys.executable, "-c", KILLED, str(file), str(home / "runs" / "search")]
        done = subprocess.run(command, env={**os.environ, **address}, capture_output=True, text=True, timeout=300)
        assert done.returncode == -signal.SIGKILL, done.stderr
        before = finished(home / "runs" / "search")
        (home / DIE_ONCE).touch()
        recorder = Recorder()
        summary = search(config, SETTINGS, home / "runs" / "search", resume=True, progress=recorder)
        yield Resumed(config, summary, recorder, before)


def test_a_killed_search_is_finished_without_repeating_finished_trials(resumed: Resumed) -> None:
    assert resumed.finished_before
    after = finished(resumed.summary.folder)
    assert len(after) == TRIALS
    assert {name: after[name] for name in resumed.finished_before} == resumed.finished_before
    assert [trial.number for trial in resumed.summary.trials] == [1, 2, 3]
    assert {trial.state for trial in resumed.summary.trials} == {"finished"}
    for trial in resumed.summary.trials:
        steps = [record["step"] for record in read_json_lines(resumed.summary.folder / "trials" / trial.name / "metrics.jsonl")]
        assert steps == list(range(1, STEPS + 1))


def test_a_trial_whose_process_dies_is_tried_again(resumed: Resumed) -> None:
    assert [retried for _, retried in resumed.recorder.failures] == [True]


def test_every_trial_has_a_placement_group_for_driver_and_members(resumed: Resumed) -> None:
    assert resumed.recorder.bundles == {1 + len(resumed.config.pool.members)}


def test_the_best_gives_the_same_accuracy_and_pixels_again(
    resumed: Resumed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = resumed.summary
    best = load_config(summary.folder / "best.yaml")
    assert best == summary.config and best.evaluation.split == "validation"
    assert summary.best.last.accuracy == max(trial.last.accuracy for trial in summary.trials)
    without_ray(monkeypatch)
    again = condense(
        best.model_copy(update={"tracking": best.tracking.model_copy(update={"enabled": False})}), tmp_path / "run"
    )
    assert mean_accuracy(again.evaluation) == summary.best.last.accuracy
    assert pixels(tmp_path / "run") == pixels(summary.folder / "trials" / summary.best.name)


def test_what_a_search_leaves_in_its_folder(resumed: Resumed) -> None:
    folder = resumed.summary.folder
    trials = json.loads((folder / "trials.json").read_text())
    assert trials["best"] == resumed.summary.best.number
    assert [trial["number"] for trial in trials["trials"]] == [1, 2, 3]
    assert json.loads((folder / "evaluation.json").read_text())["split"] == "test"
    assert resumed.summary.evaluation.split == "test"
    names = {path.name for path in folder.iterdir()}
    assert {"best.yaml", "config.yaml", "images.png", "parameters.png", "parallel.png", "seconds.png", "search.json"} <= names


def test_mlflow_has_the_search_and_its_trials(resumed: Resumed) -> None:
    folder = resumed.summary.folder
    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == resumed.config.tracking.experiment]
    runs = client.search_runs([experiment.experiment_id])
    parent = json.loads((folder / "tracking" / "run.json").read_text())["run_id"]
    children = {run.info.run_id: run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent}
    known = {
        json.loads((folder / "trials" / trial.name / "tracking" / "run.json").read_text())["run_id"]
        for trial in resumed.summary.trials
    }
    assert known == set(children)
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run_id in children:
        steps = [metric.step for metric in client.get_metric_history(run_id, "seconds/step")]
        assert sorted(steps) == list(range(1, STEPS + 1))
        assert [metric.step for metric in client.get_metric_history(run_id, "validation/mean")] == [STEPS // 2, STEPS]
    assert len(client.get_metric_history(parent, "search/accuracy")) == TRIALS
    assert "best.yaml" in {artifact.path for artifact in client.list_artifacts(parent)}


def test_a_pool_that_does_not_fit_is_refused_at_once_and_leaves_nothing(ray_local: None, tmp_path: Path) -> None:
    pool = {"members": ["mlp", {"architecture": "convnet", "num_gpus": 50}]}
    config = tiniest(tmp_path, pool=pool, evaluation={"students": ["mlp"]})
    settings = SearchSettings(space="loss_weights")
    with pytest.raises(InputError, match="pool member 'convnet' needs 50 GPU, but no node of the cluster has more than 3"):
        search(config, settings, tmp_path / "search", progress=Recorder())
    several = SearchSettings(space="loss_weights", concurrent=4)
    pool = {"members": [{"architecture": "mlp", "num_gpus": 1}]}
    with pytest.raises(InputError, match="4 trials at a time need 4 GPU, but the cluster has 3, 1 too few"):
        search(
            tiniest(tmp_path, pool=pool, evaluation={"students": ["mlp"]}), several, tmp_path / "search", progress=Recorder()
        )
    assert [path.name for path in (tmp_path / "search").iterdir()] == [".lock"]


def test_a_storage_that_cannot_be_written_is_told(ray_local: None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = tiniest(tmp_path, evaluation={"students": ["mlp"]})
    for storage in (str(tmp_path / "file" / "storage"), "nonsense://bucket"):
        with pytest.raises(InputError, match=r"--storage-path is .*, which cannot be (written|opened) \(.*\): give"):
            search(config, SearchSettings(space="loss_weights"), tmp_path / "search", storage_path=storage, progress=Recorder())


def test_a_search_without_students_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"evaluation\.students is empty"):
        search(tiniest(tmp_path), SearchSettings(space="loss_weights"), tmp_path / "search", progress=Recorder())
