"""Stores for tests: a database, a real MLflow server on loopback; and reading back what they
hold."""

from __future__ import annotations

import functools
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mlflow.tracking import MlflowClient

from hmdc_ray.config import TrackingConfig
from hmdc_ray.system.files import append_json_line
from hmdc_ray.tracking import Recorder, Sender
from hmdc_ray.tracking.protocol import Tracker
from hmdc_ray.tracking.records import TrackedRun, read_run

START_SECONDS = 120
OPEN_FIRST_RUN = """
import sys
from pathlib import Path
from hmdc_ray.config import TrackingConfig
from hmdc_ray.tracking import Recorder, Sender
assert "mlflow" not in sys.modules, "importing the package must not import mlflow, which is slow"
sender = Sender.of_run(TrackingConfig(), "first", Path(sys.argv[1]), {"preset": "digits"})
sender.open()
recorder = Recorder(sender)
recorder.metrics(1, {"loss": 1.0})
recorder.finish("KILLED")
Path(sys.argv[2]).write_text(recorder.run_id)
"""


def recorded(folder: Path, config: TrackingConfig | None = None, parent: str | None = None) -> Recorder:
    """A run whose store is open, with the folder's name."""
    sender = Sender.of_run(config or TrackingConfig(), folder.name, folder, {"preset": "digits"}, parent)
    sender.open()
    return Recorder(sender)


class StubTracker:
    """Writes down what it is told, and in which threads; waits for ``gate`` in each call, then
    fails as ``faults`` says.

    Args:
        faults: what the calls raise, in order, the opening's included; None and later ones succeed.
            A ValueError refuses.
    """

    run_id, location = "1", "there"

    def __init__(self, *faults: Exception | None) -> None:
        self.faults = list(faults)
        self.calls: list[tuple[Any, ...]] = []
        self.threads: set[str] = set()
        self.latest: dict[str, int] = {}
        self.gate = threading.Event()

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            self.threads.add(threading.current_thread().name)
            self.gate.wait()
            fault = self.faults.pop(0) if self.faults else None
            if fault:
                raise fault
            self.calls.append((name, *arguments))

        return call

    def refuses(self, error: Exception) -> bool:
        return isinstance(error, ValueError)

    @property
    def names(self) -> list[str]:
        """What was called, but for saying that the run runs, which is left out when it ends
        soon."""
        return [name for name, *arguments in self.calls if arguments[:1] != ["RUNNING"]]

    def sender(self, folder: Path) -> Sender:
        """The sender to it of a run in a folder, new or resumed."""

        def opened(run: TrackedRun) -> Tracker:
            self.open(run)
            return cast(Tracker, self)

        new = TrackedRun(key="0" * 32, time=5, name="run", experiment="hmdc-ray", tags={}, uri=None)
        return Sender(folder, read_run(folder) or new, opened)


def steps(folder: Path, *numbers: int, time: int = 7) -> None:
    """Add lines of steps, whose loss is half their number, to ``metrics.jsonl``."""
    folder.mkdir(parents=True, exist_ok=True)
    for step in numbers:
        entries = {"step": step, "iteration": 0, "members": {}, "time": time + step, "loss": step / 2}
        append_json_line(folder / "metrics.jsonl", entries)


@dataclass
class Store:
    """A database beside its runs, with one killed run, made by a process of its own.

    Attributes:
        folder: of the runs.
        run_id: of the killed run, in the folder ``first``.
        terminal: what the process left on the terminal.
        client: for the database.
    """

    folder: Path
    run_id: str
    terminal: str
    client: MlflowClient

    def copy_database(self, path: Path) -> None:
        """A database that need not be made; its experiment keeps its files where the first one
        does."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with sqlite3.connect(self.folder / "mlflow.db") as source, sqlite3.connect(path) as target:
            source.backup(target)


@functools.cache
def shared_store(folder: Path) -> Store:
    """The database that all tests of a session share, below its folder; making one takes
    seconds."""
    runs, noted = folder / "shared-runs", folder / "shared-run-id"
    runs.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-c", OPEN_FIRST_RUN, str(runs / "first"), str(noted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return Store(runs, noted.read_text(), done.stdout + done.stderr, MlflowClient(f"sqlite:///{runs / 'mlflow.db'}"))


class MlflowServer:
    """``mlflow server`` over one database, which can be killed and started again at the same
    address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        # Background jobs of MLflow's own start seven more processes.
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        for _ in range(START_SECONDS * 4):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
                return
            except OSError:
                try:
                    self._process.wait(0.25)
                except subprocess.TimeoutExpired:
                    continue
                break
        raise AssertionError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        """SIGKILL to the server and its children."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def history(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float]]:
    """Every stored value of a metric with its step, by step: a value stored twice is there
    twice."""
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run_id, name))


def artifacts(client: MlflowClient, run_id: str, folder: str | None = None) -> set[str]:
    return {entry.path for entry in client.list_artifacts(run_id, folder)}


def picture_steps(client: MlflowClient, run_id: str) -> Counter[tuple[int, str]]:
    """How often a picture is stored for a step, in full (``png``) and small (``webp``)."""
    paths = artifacts(client, run_id, "images")
    return Counter((int(path.split("+step+")[1].split("+")[0]), path.rpartition(".")[2]) for path in paths)


def both_forms(*steps: int) -> Counter[tuple[int, str]]:
    """What :func:`picture_steps` gives when there is one picture at each of these steps."""
    return Counter((step, form) for step in steps for form in ("png", "webp"))
