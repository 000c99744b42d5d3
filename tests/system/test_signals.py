"""SIGINT and SIGTERM end a run in good order: a step is finished, a checkpoint is there, and what
is printed resumes."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import ray
from mlflow.tracking import MlflowClient
from whole_runs import STEPS, CommandLine, condense_here, pixels, tiniest, tree, without_ray, write_config

from hmdc_ray import condense
from hmdc_ray.run.progress import Silent
from hmdc_ray.server.checkpoint import CheckpointFolder
from hmdc_ray.system import signals
from hmdc_ray.system.files import read_json_lines
from hmdc_ray.system.signals import GRACE_SECONDS, Interrupted, StopRequest, stop_on_signals

TWO_SIGNALS = """
import os, signal, sys, threading
from hmdc_ray.system import signals
from hmdc_ray.system.signals import stop_on_signals
first, second = map(int, sys.argv[1:])
with stop_on_signals() as stop:
    os.kill(os.getpid(), first)
    print(stop.signal_number, flush=True)
    os.kill(os.getpid(), second)
    threading.Event().wait()
"""
LATER = [pytest.param(signal.SIGINT, 130, id="SIGINT"), pytest.param(signal.SIGTERM, 143, id="SIGTERM")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def reference(home: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Pixels of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    condense_here(tiniest(home), folder)
    return pixels(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield tmp_path_factory.mktemp("runs")


# The request itself


def test_nobody_asked() -> None:
    request = StopRequest()
    request.raise_if_requested()
    request.raise_if_overdue()


def test_a_step_may_end_within_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    request, now = StopRequest(), 100.0
    monkeypatch.setattr(signals, "monotonic", lambda: now)
    request.receive(signal.SIGTERM)
    request.raise_if_overdue()
    with pytest.raises(Interrupted, match="stopped by SIGTERM") as stopped:
        request.raise_if_requested()
    assert stopped.value.signal_number == signal.SIGTERM
    now += GRACE_SECONDS + 0.1
    with pytest.raises(Interrupted):
        request.raise_if_overdue()


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal_number == signal.SIGINT
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_another_thread_leaves_signals_alone() -> None:
    seen = []

    def run() -> None:
        with stop_on_signals() as stop:
            seen.append((stop.signal_number, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(None, signal.getsignal(signal.SIGINT))]


@pytest.mark.parametrize(("second", "code"), LATER)
def test_a_second_signal_exits_at_once(second: signal.Signals, code: int) -> None:
    command = [sys.executable, "-c", TWO_SIGNALS, str(int(signal.SIGINT)), str(int(second))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (code, str(int(signal.SIGINT))), done.stderr


# Runs in this process


class SignalAt(Silent):
    """Sends SIGINT to this process when a stage begins, or after a step."""

    def __init__(self, when: str | int) -> None:
        self._when = when

    def stage(self, text: str) -> None:
        if text == self._when:
            os.kill(os.getpid(), signal.SIGINT)

    def step(self, done: int, total: int, metrics: Mapping[str, float], left_out: Mapping[str, int]) -> None:
        if done == self._when:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("step", [1, 2, 4, STEPS])
def test_a_run_stopped_after_any_step_goes_on_to_the_same_pixels(
    step: int, reference: bytes, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ray(monkeypatch)
    config = tiniest(home, schedule={"checkpoint_every": 100})
    with pytest.raises(Interrupted) as stopped:
        condense(config, tmp_path / "run", progress=SignalAt(step))
    assert stopped.value.resumable
    latest = CheckpointFolder(tmp_path / "run" / "checkpoint").latest()
    assert latest is not None and latest.version == step
    condense(config, tmp_path / "run", resume=True)
    assert pixels(tmp_path / "run") == reference


def test_a_run_stopped_while_it_is_judged_goes_on_there(
    reference: bytes, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ray(monkeypatch)
    config = tiniest(home, evaluation={"students": ["mlp"]})
    with pytest.raises(Interrupted):
        condense(config, tmp_path / "run", progress=SignalAt("evaluating"))
    assert not (tmp_path / "run" / "evaluation.json").exists()
    monkeypatch.setattr("hmdc_ray.run.execution.launch", None)  # the images are done: no pool is needed
    summary = condense(config, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "evaluation.json").exists()
    assert summary.condensed.images.numpy().tobytes() == reference


@pytest.mark.parametrize("stage", ["starting Ray", "starting the pool"])
def test_a_run_stopped_before_it_began_leaves_the_folder_as_it_was(
    stage: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ray(monkeypatch)
    condense(tiniest(home, schedule={"iterations": 1}), tmp_path / "run")
    before = tree(tmp_path)
    with pytest.raises(Interrupted) as stopped:
        condense(tiniest(home, seed=9), tmp_path / "run", overwrite=True, progress=SignalAt(stage))
    assert not stopped.value.resumable
    assert tree(tmp_path) == before


def test_the_command_that_starts_again_is_the_same_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_ray(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hmdc_ray.run.condense.validate", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    outcome = CommandLine(monkeypatch, capsys)("condense", write_config(tmp_path / "a b.yaml", tiniest(home)), "--overwrite")
    assert outcome.code == 143
    command = f"hmdc condense '{tmp_path / 'a b.yaml'}' --overwrite"
    assert outcome.err == f"stopped by SIGTERM while starting the pool. Start again with:\n  {command}\n"
    assert not (tmp_path / "runs" / "tiny" / "config.yaml").exists()


# Runs in a process of their own


def resumed_from_what_is_printed(error: str, hmdc: CommandLine) -> None:
    lines = error.strip().splitlines()
    assert lines[-2].endswith("Resume with:"), error
    command = shlex.split(lines[-1])
    assert command[0] == "hmdc" and command[-1] == "--resume"
    hmdc.succeeds(*command[1:])


@pytest.mark.parametrize(("number", "code"), LATER)
def test_a_command_that_is_stopped_says_how_to_resume(
    number: signal.Signals,
    code: int,
    ray_local: None,
    reference: bytes,
    runs: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """SIGINT as Ctrl-C gives it, to all processes of a run with a Ray of its own; SIGTERM to a
    driver in a cluster."""
    name = number.name.lower()
    file = write_config(runs / f"{name}.yaml", tiniest(home, name=name, tracking={"enabled": True}))
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    own = Path(tempfile.mkdtemp(prefix="hmdc-"))
    if number == signal.SIGINT:
        environment |= {"RAY_ADDRESS": "local", "RAY_TMPDIR": str(own)}
    process = subprocess.Popen(
        [sys.executable, "-m", "hmdc_ray.cli.main", "condense", file.name],
        cwd=runs,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        shown = []
        for line in process.stdout:
            shown.append(line)
            if "condensing 1/" in line:
                break
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, error = process.communicate(timeout=60)
    shutil.rmtree(own, ignore_errors=True)
    assert process.returncode == code, "".join(shown) + error
    folder = runs / "runs" / name
    steps = [record["step"] for record in read_json_lines(folder / "metrics.jsonl")]
    assert steps == list(range(1, len(steps) + 1)) and 1 <= len(steps) < STEPS
    latest = CheckpointFolder(folder / "checkpoint").latest()
    assert latest is not None and latest.version == steps[-1]
    client = MlflowClient(f"sqlite:///{runs / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("hmdc-ray")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], f"tags.preset = '{name}'")
    assert run.info.status == "KILLED"
    assert run.data.metrics["seconds/step"] > 0

    without_ray(monkeypatch)
    monkeypatch.chdir(runs)
    resumed_from_what_is_printed(error, CommandLine(monkeypatch, capsys))
    assert pixels(folder) == reference
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
