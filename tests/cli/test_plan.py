from __future__ import annotations

import re
from pathlib import Path

import pytest
from whole_runs import CommandLine, tiniest, write_config


def test_the_command_shows_the_measured_pool_and_the_one_asked_for(
    ray_local: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_config(tmp_path / "tiny.yaml", tiniest(tmp_path))
    out = CommandLine(monkeypatch, capsys).succeeds("plan", file, "--members", 4, "--cores-per-node", 64, "--check")
    rows = {line.split("  ")[0].strip(): line.split()[-2:] for line in out.splitlines() if line.startswith(" ")}
    assert rows["workers"] == ["2", "4"]
    assert out.count("classes per call: 3 of 3, chosen so that each worker stays under ") == 2  # in both pools
    assert "2 x convnet" in out and "2 x lenet" in out
    server, larger = map(float, rows["seconds, server"])
    assert server > 0 and abs(larger - 2 * server) < 0.01
    assert float(rows["seconds"][1]) < 2 * float(rows["seconds"][0])
    assert int(rows["MB of a worker of lenet"][0].replace(",", "")) > 100
    found = re.search(
        r"run here: ([\d.]+) seconds, MB of a worker: convnet ([\d,]+), lenet ([\d,]+); of the server: ([\d,]+)", out
    )
    assert found and "4 workers: step 2 of 2" in out
    assert all(float(text.replace(",", "")) > least for text, least in zip(found.groups(), (0, 100, 100, 100), strict=True))
