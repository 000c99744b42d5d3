"""The command ``hmdc sync-tracking`` says what became of every run; that it is done, the tests of
tracking show."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from whole_runs import CommandLine


def test_what_became_of_every_run_is_told(hmdc: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, *refused: str, sent: int = 0, is_running: bool = False) -> SimpleNamespace:
        return SimpleNamespace(folder=tmp_path / name, sent=sent, refused=refused, is_running=is_running)

    runs = [run("a", sent=35), run("b"), run("c", is_running=True)]
    monkeypatch.setattr("hmdc_ray.tracking.sync_tracking", lambda folder: runs if folder == Path("search") else [])
    told = "a  35 records sent\nb  nothing was missing\nc  still running, sends its records itself\n"
    assert hmdc.succeeds("sync-tracking", "search") == told
    runs.append(run("d", "too long", "gone", sent=3))
    outcome = hmdc("sync-tracking", "search")
    assert (outcome.code, outcome.out) == (1, f"{told}d  3 records sent\n")
    assert outcome.err == "error: MLflow refused 2 records, the first of d: too long; they stay in the folder\n"
