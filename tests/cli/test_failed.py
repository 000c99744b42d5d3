"""Commands whose students fail in part: all is written, the exit code is 1, and the command that is
told completes it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from whole_runs import CommandLine, tiniest, tree, without_ray, write_config

NETWORK = """
from pathlib import Path
from torch import nn

class Mine(nn.Module):
    def forward(self, images_BCHW):
        if self.training and len(images_BCHW) > 2 and Path("broken").exists():
            raise MemoryError(f"no room for {len(images_BCHW)} images\\nat a time")
        return images_BCHW.flatten(1)

def make(shape, classes):
    return nn.Sequential(Mine(), nn.Linear(shape.channels * shape.height * shape.width, classes))
"""


@pytest.fixture
def hmdc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[CommandLine]:
    """The command line in a folder with a network of the user's, which breaks while there is a file
    ``broken``."""
    without_ray(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "mynet.py").write_text(NETWORK)
    (tmp_path / "broken").touch()
    yield CommandLine(monkeypatch, capsys)
    sys.modules.pop("mynet", None)


def command_told(error: str) -> list[str]:
    program, *words = shlex.split(error.rpartition("train them again with: ")[2])
    assert program == "hmdc"
    return words


def rows(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(file.read_text())["rows"]
    return found


def test_a_run_ends_with_what_it_has_and_can_be_completed(hmdc: CommandLine, tmp_path: Path) -> None:
    mine = {"name": "mine", "architecture": "mynet:make"}
    config = tiniest(tmp_path, evaluation={"students": ["mlp", mine]}, schedule={"iterations": 1, "steps": 1})
    write_config(tmp_path / "tiny.yaml", config)
    outcome = hmdc("condense", "tiny.yaml", "--output", "run")
    assert outcome.code == 1 and "accuracies  run/evaluation.json" in outcome.out
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: 2 of 4 trainings of students failed (mine), see 'trials' in run/evaluation.json; train them")
    why = "student 'mine' on condensed images, seed 0 of run seed 5: MemoryError: no room for 3 images (1 more"
    assert why in outcome.out
    before = tree(tmp_path / "run")
    assert {"matrix.png", "gains.png", "gradients.png", "images.png", "condensed.parquet"} <= before.keys()
    mlp, failed = rows(tmp_path / "run" / "evaluation.json")
    assert mlp["condensed"] and mlp["random"] and failed["condensed"] is failed["random"] is None

    words = command_told(line)
    assert words == ["evaluate", "run", "--architectures", "mlp,mynet:make", "--failed"]
    assert hmdc(*words).code == 1  # nothing has changed, and nothing is lost
    assert rows(tmp_path / "run" / "evaluation.json") == [mlp, failed]
    (tmp_path / "broken").unlink()
    assert "evaluating students 2/2" in hmdc.succeeds(*words)
    kept, completed = rows(tmp_path / "run" / "evaluation.json")
    assert kept == mlp and completed["condensed"]["values"] and completed["problem"] == ""
    after = tree(tmp_path / "run")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"evaluation.json", "matrix.png", "gains.png"} and after.keys() == before.keys()
    assert hmdc.succeeds(*words) == "no student has failed in run/evaluation.json\n"


def test_an_evaluation_of_its_own_is_completed_in_its_file(hmdc: CommandLine, tmp_path: Path) -> None:
    config = tiniest(tmp_path, schedule={"iterations": 1, "steps": 1})
    write_config(tmp_path / "tiny.yaml", config)
    hmdc.succeeds("condense", "tiny.yaml", "--output", "run")
    words = ["evaluate", "run", "--architectures", "mynet:make,mlp", "--seeds", "2", "--set", "evaluation.epochs=1"]
    alone = hmdc(*words)
    assert alone.code == 1 and "MemoryError" in alone.err and "with --output FILE.json the others are kept" in alone.err
    told = hmdc(*words, "--output", "mine.json")
    assert told.code == 1
    again = command_told(told.err.splitlines()[-1])
    assert again == [*words, "--output", "mine.json", "--failed"]
    (tmp_path / "broken").unlink()
    hmdc.succeeds(*again)
    assert [row["problem"] for row in rows(tmp_path / "mine.json")] == ["", ""]
    other = hmdc(*again[:5], "3", *again[6:])
    assert other.code == 0  # nobody has failed there
    for wrong in (["evaluate", "run/images.png", "--failed"], ["evaluate", "run", "tiny", "--failed"]):
        refused = hmdc(*wrong)
        assert refused.code == 2 and "give --output FILE.json" in refused.err
