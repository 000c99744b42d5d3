"""A real MLflow server: a parent and two children write at once, and the server is killed while
they do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from hmdc_ray.config import TrackingConfig
from hmdc_ray.tracking import Recorder, sync_tracking
from tracking.mlflow_server import MlflowServer, artifacts, both_forms, history, picture_steps, recorded

STEPS = 120
CHILD = """
import sys
from pathlib import Path
import numpy as np
from hmdc_ray.config import TrackingConfig
from hmdc_ray.tracking import Recorder, Sender, recorder
recorder.SEND_SECONDS = 0.05  # some of it arrives before the server is killed
uri, folder, parent, steps = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
sender = Sender.of_run(TrackingConfig(uri=uri), folder.name, folder, {"preset": "digits"}, parent)
sender.open()
tracker = Recorder(sender)
tracker.parameters({"seed": folder.name})
tracker.dataset("digits", "digits", "f" * 64, {"image": "uint8 8x8x1"}, {"train": 10})
print("open", flush=True)
for line in sys.stdin:  # each line sets off a third of the steps
    for step in range(int(line) * steps // 3, (int(line) + 1) * steps // 3):
        tracker.metrics(step, {"loss/convnet": step / 2, "gbm/weight": 1.0})
    tracker.image("images/condensed", np.full((8, 8, 3), step, np.uint8), step)
    print("logged", flush=True)
(folder / "config.yaml").write_text("seed: 3")
tracker.artifacts(folder.iterdir())
tracker.finish("FINISHED")
print(tracker.run_id, flush=True)
"""


class Child:
    """A run in a process of its own, which logs a third of its steps at each :meth:`log`."""

    def __init__(self, uri: str, folder: Path, parent: str) -> None:
        command = [sys.executable, "-c", CHILD, uri, str(folder), parent, str(STEPS)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def expect(self, answer: str) -> None:
        assert self._process.stdout is not None and self._process.stderr is not None
        line = self._process.stdout.readline()
        assert line == answer + "\n", line + self._process.stderr.read()

    def log(self, third: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{third}\n")
        self._process.stdin.flush()

    def finish(self) -> tuple[str, str]:
        """Its run's id, and what it told the user."""
        out, error = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, error
        return out.strip(), error

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def children(server: MlflowServer, tmp_path: Path) -> Iterator[tuple[Recorder, list[Child]]]:
    """A parent run in this process, and two children that are open."""
    parent = recorded(tmp_path / "search", TrackingConfig(uri=server.uri))
    children = [Child(server.uri, tmp_path / "search" / f"trial-{index}", parent.run_id) for index in range(2)]
    for child in children:
        child.expect("open")
    yield parent, children
    for child in children:
        child.kill()


def check_complete(server: MlflowServer, run_id: str, parent: str) -> None:
    """The store holds all of a child, once."""
    client = MlflowClient(server.uri)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.params["seed"] == run.info.run_name
    assert history(client, run_id, "loss/convnet") == [(step, step / 2) for step in range(STEPS)]
    assert history(client, run_id, "gbm/weight") == [(step, 1.0) for step in range(STEPS)]
    assert picture_steps(client, run_id) == both_forms(STEPS // 3 - 1, 2 * STEPS // 3 - 1, STEPS - 1)
    assert artifacts(client, run_id) == {"config.yaml", "images"}
    assert run.inputs is not None
    assert [entry.dataset.digest for entry in run.inputs.dataset_inputs] == ["f" * 36]


def test_a_server_killed_in_mid_run_misses_nothing(
    server: MlflowServer, children: tuple[Recorder, list[Child]], tmp_path: Path
) -> None:
    """The children end while it is away; the parent sees it come back and catches up by itself."""
    parent, processes = children
    parent.metrics(0, {"objective/accuracy": 0.0})
    for child in processes:
        child.log(0)
        child.expect("logged")
        child.log(1)  # the server dies while these are sent
    server.kill()
    for child in processes:
        child.expect("logged")
        child.log(2)
        child.expect("logged")
    parent.metrics(1, {"objective/accuracy": 0.1})
    ids = []
    for child in processes:
        run_id, error = child.finish()
        assert "send them with: hmdc sync-tracking" in error
        ids.append(run_id)
    server.start()
    parent.image("images/front", np.zeros((4, 4, 3), np.uint8), 1)
    parent.finish("FINISHED")

    synced = {entry.folder.name: entry for entry in sync_tracking(tmp_path / "search")}
    assert set(synced) == {"search", "trial-0", "trial-1"}
    assert synced["search"].sent == 0
    assert all(synced[name].sent > 0 for name in ("trial-0", "trial-1"))
    assert not any(entry.refused or entry.is_running for entry in synced.values())
    for run_id in ids:
        check_complete(server, run_id, parent.run_id)
    client = MlflowClient(server.uri)
    assert client.get_run(parent.run_id).info.status == "FINISHED"
    assert history(client, parent.run_id, "objective/accuracy") == [(0, 0.0), (1, 0.1)]
    assert picture_steps(client, parent.run_id) == both_forms(1)
    assert [entry.sent for entry in sync_tracking(tmp_path / "search")] == [0, 0, 0]
    assert not list((tmp_path / "search").rglob("*.png")), "pictures that have arrived are not kept"
