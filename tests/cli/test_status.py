"""``hmdc status`` says where runs stand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from whole_runs import CommandLine

from hmdc_ray.run.status import run_folders


def test_a_folder_of_runs_is_a_table(finished: Path, hmdc: CommandLine, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(finished / "run", tmp_path / "search" / "trials" / name)
    metrics = tmp_path / "search" / "trials" / "b" / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:4]))
    assert [path.name for path in run_folders(tmp_path / "search")] == ["a", "b"]
    out = hmdc.succeeds("status", "search")
    assert "finished" in out and "6 of 6" in out and "stopped" in out and "4 of 6" in out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "nowhere is not there"),
        ("file", "file is a file"),
        ("empty", "empty holds no run"),
        ("broken", "broken/config"),
    ],
)
def test_no_run_is_one_line(name: str, message: str, hmdc: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.yaml").write_text("seed: [")
    outcome = hmdc("status", name)
    assert outcome.code == 2 and outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    assert message in outcome.err
