"""The command ``evaluate``, in this process and without Ray."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from in_process import InProcess
from typer.testing import CliRunner

from hmdc_ray.cli.evaluate import evaluate
from hmdc_ray.condensed import CondensedSet, load_condensed, save_condensed
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.conduct import conduct
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.sets import Sets
from hmdc_ray.run import evaluate as run
from hmdc_ray.run.progress import Silent

Hmdc = Callable[..., Any]


@pytest.fixture
def hmdc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hmdc:
    def here(
        condensed: Sets, config: RunConfig, *, pool: Any, progress: Any, check: Callable[[], None], earlier: Any
    ) -> Evaluation:
        return conduct(condensed, config, pool=pool, executor=InProcess(check), progress=progress, earlier=earlier)

    monkeypatch.setattr(run, "evaluate_on_ray", here)
    monkeypatch.setattr(run, "ray_session", lambda *_: nullcontext())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    app = typer.Typer()
    app.command()(evaluate)

    def call(*words: object) -> None:
        outcome = CliRunner().invoke(app, [*map(str, words)])
        if outcome.exception is not None:
            raise outcome.exception
        assert outcome.exit_code == 0

    return call


@pytest.fixture
def stored(three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path) -> tuple[Path, Path]:
    """Two runs' folders, each with its condensed set."""
    info = three_digits.info
    config = RunConfig.model_validate(
        {
            "name": "both",
            "data": three_digits_config.model_dump(),
            "pool": {"members": ["mlp"]},
            "evaluation": {"students": ["mlp", "convnet"], "seeds": 2, "epochs": 2},
        }
    )
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    first = CondensedSet(images, torch.arange(3), info.class_names, info.mean, info.std, config=config.model_dump(mode="json"))
    for name, each in (("a", first), ("b", replace(first, images=-images))):
        (tmp_path / name).mkdir()
        save_condensed(tmp_path / name / "condensed.parquet", each)
    return tmp_path / "a", tmp_path / "b"


def test_two_sets_are_compared_and_pictured(hmdc: Hmdc, stored: tuple[Path, Path], tmp_path: Path) -> None:
    hmdc(*stored, "--baselines", "random", "--output", tmp_path / "out" / "both.json")

    report = json.loads((tmp_path / "out" / "both.json").read_text())
    assert [entry["name"] for entry in report["sets"]] == ["a", "b"]
    assert [row["in_pool"] for row in report["rows"]] == [True, False]
    assert [len(each["architectures"]) for each in report["comparison"]] == [2]
    figures = {"both-matrix.png", "both-gains.png", "both-side_by_side.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"both.json", *figures}


def test_options_reach_the_configuration(hmdc: Hmdc, stored: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("--protocol", "idc", "--seeds", 1, "--baselines", "none", "--architectures", "mlp")
    hmdc(stored[0], *words, "--temperatures", "2,3", "--set", "evaluation.epochs=1", "--output", tmp_path / "one.json")

    report = json.loads((tmp_path / "one.json").read_text())
    assert (report["protocol"], report["epochs"], report["seeds"]) == ("idc", 1, 1)
    assert report["distillation"]["temperatures"] == [2.0, 3.0]
    (row,) = report["rows"]
    assert row["random"] is None and row["temperatures"]["condensed"] in (2.0, 3.0)
    assert [entry["name"] for entry in report["sets"]] == ["both"]


def test_distill_takes_the_default_teacher(hmdc: Hmdc, stored: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("--distill", "--architectures", "mlp", "--baselines", "none", "--seeds", 1)
    hmdc(stored[0], *words, "--output", tmp_path / "one.json")
    report = json.loads((tmp_path / "one.json").read_text())
    assert report["distillation"]["teacher"]["architecture"] == "convnet"
    assert report["rows"][0]["temperatures"] == {"condensed": 1.5}


def test_a_set_given_twice_is_refused(hmdc: Hmdc, stored: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="is given twice"):
        hmdc(stored[0], stored[0])


@pytest.mark.parametrize("by_data", [False, True])
def test_what_is_taken_for_mnist_is_told(by_data: bool, hmdc: Hmdc, stored: tuple[Path, Path]) -> None:
    class Noting(Silent):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    def notes(**fields: Any) -> list[str]:
        condensed, told = load_condensed(stored[0]), Noting()
        sections = dict(condensed.config or {})
        sections["data"] |= {"statistics": "mnist" if by_data else None}
        sections["evaluation"] |= {"students": ["mlp"], "seeds": 1, "baselines": "none", **fields}
        named = condensed if by_data else replace(condensed, mean=(0.1307,), std=(0.3081,))
        run.evaluate(named, RunConfig.model_validate(sections), progress=told)
        return told.notes

    assert [note[:67] for note in notes(epochs=3)] == ["MNIST by its statistics: protocol dc trains 3 epochs with crop, sca"]
    assert notes(epochs=2, augmentation=False) == notes(epochs=2, protocol="idc") == []
