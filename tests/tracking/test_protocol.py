"""Another tracker than MLflow is a class with a few methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copy

import numpy as np
import pytest
from whole_runs import STEPS, condense_here, tiniest

from hmdc_ray.tracking import Recorder, Sender, sender
from hmdc_ray.tracking.protocol import Tracker, Value
from hmdc_ray.tracking.records import Dataset, Status, TrackedRun, count_unsent
from tracking.mlflow_server import StubTracker, steps


class TextTracker:
    """Writes lines of text."""

    def __init__(self, folder: Path, run: TrackedRun) -> None:
        self.run_id = run.key
        self.location = str(folder / "log.txt")
        self.latest: Mapping[str, int] = {}
        self._folder = folder

    def _write(self, *words: object) -> None:
        with Path(self.location).open("a") as file:
            print(*words, file=file)

    def parameters(self, values: Mapping[str, str]) -> None:
        self._write("parameters", dict(values))

    def metrics(self, values: Sequence[Value]) -> None:
        for value in values:
            self._write(value.name, value.step, value.value)

    def dataset(self, record: Dataset) -> None:
        self._write("data", record.name)

    def tags(self, values: Mapping[str, str]) -> None:
        self._write("tags", dict(values))

    def image(self, name: str, step: int, files: Sequence[Path]) -> None:
        for file in files:
            target = self._folder / f"{name}-{step}{file.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            copy(file, target)

    def artifact(self, path: Path, name: str) -> None:
        self._write("file", name)

    def status(self, status: Status, time: int) -> None:
        if status != "RUNNING":
            self._write(status)

    def refuses(self, error: Exception) -> bool:
        return False


def test_a_tracker_of_ones_own(run: Path, tmp_path: Path) -> None:
    def opened(run: TrackedRun) -> Tracker:
        return TextTracker(tmp_path, run)

    recorder = Recorder(Sender(run, StubTracker().sender(run).run, opened))
    recorder.parameters({"seed": 3})
    recorder.dataset("digits", "", "f", {}, {})
    steps(run, 1, 2)
    recorder.tags({"a": "b"})
    recorder.image("images/condensed", np.zeros((1, 1, 3), np.uint8), 2)
    recorder.artifacts([run / "config.yaml"])
    recorder.finish("FINISHED")
    text = Path(recorder.location).read_text().splitlines()
    expected = ["loss 1 0.5", "loss 2 1.0", "parameters {'seed': '3'}", "data digits", "tags {'a': 'b'}", "file config.yaml"]
    assert sorted(text[:-1]) == sorted(expected) and text[-1] == "FINISHED"
    assert (tmp_path / "images" / "condensed-2.png").exists()


def test_a_whole_run_goes_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    log.mkdir()
    monkeypatch.setattr(sender, "open_tracker", lambda address, run: TextTracker(log, run))
    condense_here(tiniest(tmp_path, tracking={"enabled": True}), tmp_path / "run")
    text = (log / "log.txt").read_text().splitlines()
    assert text[-1] == "FINISHED" and count_unsent(tmp_path / "run") == 0
    assert [line.split()[1] for line in text if line.startswith("seconds/step ")] == [str(step + 1) for step in range(STEPS)]
    assert {"file config.yaml", "file condensed.parquet", "data noise.parquet"} <= set(text)
    assert sorted(path.name for path in (log / "images").glob("*.png")) == [f"condensed-{step}.png" for step in (0, 3, 6)]
