"""The command ``hmdc evaluate``, in this process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from whole_runs import CommandLine, tiniest, tree, write_config, write_images

from hmdc_ray.condensed import CondensedSet, save_condensed
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.config.io import apply_overrides, load_config
from hmdc_ray.data.dataset import ImageDataset


def test_evaluate_a_run(hmdc: CommandLine, finished: Path, tmp_path: Path) -> None:
    shown = hmdc.succeeds("evaluate", finished / "run", "--output", "accuracies.json")
    assert "mlp" in shown and "lenet" in shown and "accuracies.json" in shown
    assert json.loads((tmp_path / "accuracies.json").read_text()) == json.loads(
        (finished / "run" / "evaluation.json").read_text()
    )


def test_paths_in_a_run_hold_in_every_folder(
    hmdc: CommandLine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "data.parquet", [0, 1, 2] * 10)
    pool = {"members": [{"architecture": "mlp", "options": {"width": 4}}]}
    small = tiniest(home, pool=pool, evaluation={"students": ["mlp"]}, schedule={"iterations": 1, "steps": 1})
    write_config(tmp_path / "small.yaml", apply_overrides(small, ["data.cache=cache"]))
    hmdc.succeeds("condense", "small.yaml", "--data", "data.parquet", "--output", "run")
    assert load_config(tmp_path / "run").data.source == str(tmp_path / "data.parquet")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    hmdc.succeeds("evaluate", tmp_path / "run")
    assert tree(tmp_path / "elsewhere") == {}


@pytest.fixture
def stored(
    three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """Two runs' folders, each with its condensed set."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
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


def test_two_sets_are_compared_and_pictured(hmdc: CommandLine, stored: tuple[Path, Path], tmp_path: Path) -> None:
    hmdc.succeeds("evaluate", *stored, "--baselines", "random", "--output", tmp_path / "out" / "both.json")

    report = json.loads((tmp_path / "out" / "both.json").read_text())
    assert [entry["name"] for entry in report["sets"]] == ["a", "b"]
    assert [row["in_pool"] for row in report["rows"]] == [True, False]
    assert [len(each["architectures"]) for each in report["comparison"]] == [2]
    figures = {"both-matrix.png", "both-gains.png", "both-side_by_side.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"both.json", *figures}


def test_options_reach_the_configuration(hmdc: CommandLine, stored: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("--protocol", "idc", "--seeds", 1, "--baselines", "none", "--architectures", "mlp", "--temperatures", "2,3")
    file, output = stored[0] / "condensed.parquet", tmp_path / "one.json"
    hmdc.succeeds("evaluate", file, *words, "--set", "evaluation.epochs=1", "--output", output)

    report = json.loads((tmp_path / "one.json").read_text())
    assert (report["protocol"], report["epochs"], report["seeds"]) == ("idc", 1, 1)
    assert report["distillation"]["temperatures"] == [2.0, 3.0]
    (row,) = report["rows"]
    assert row["random"] is None and row["temperatures"]["condensed"] in (2.0, 3.0)
    assert [entry["name"] for entry in report["sets"]] == ["both"]


def test_distill_takes_the_default_teacher(hmdc: CommandLine, stored: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("--distill", "--architectures", "mlp", "--baselines", "none", "--seeds", 1)
    hmdc.succeeds("evaluate", stored[0], *words, "--output", tmp_path / "one.json")
    report = json.loads((tmp_path / "one.json").read_text())
    assert report["distillation"]["teacher"]["architecture"] == "convnet"
    assert report["rows"][0]["temperatures"] == {"condensed": 1.5}
