"""The command ``hmdc tune``; the search itself is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from whole_runs import CommandLine

from hmdc_ray.search.records import RungRecord, TrialRecord
from hmdc_ray.search.search import SearchSummary
from hmdc_ray.search.settings import SearchSettings

from .results import evaluation


def test_options_reach_the_search_and_its_files_are_told(
    hmdc: CommandLine, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def search(config: Any, settings: SearchSettings, folder: Path, **options: Any) -> SearchSummary:
        calls.append((settings, folder, options))
        best = TrialRecord(2, "0002-x", "finished", {}, {}, (RungRecord(100, 4, 1, 0.5, 0.25, "mlp", {}, 2.0),))
        made = evaluation(("condensed",))
        return SearchSummary(folder, (best,), best, config, made, (folder / "images.png",), "open it\nthere")

    monkeypatch.setattr("hmdc_ray.search.search.search", search)
    words = ("--space", "mine.own", "--trials", 7, "--scheduler", "none", "--search", "random", "--storage-path", "s3://b")
    out = hmdc.succeeds("tune", finished / "tiny.yaml", *words)
    ((settings, folder, options),) = calls
    assert settings == SearchSettings(space="mine.own", trials=7, scheduler="none", search="random")
    assert (folder, options["storage_path"], options["resume"]) == (Path("runs/tiny-own"), "s3://b", False)
    assert "1 trials (1 finished)" in out and "mlp[wide]" in out
    assert out.endswith(
        "best        trial 2: runs/tiny-own/best.yaml\n"
        "trials      runs/tiny-own/trials.json\n"
        "figure      runs/tiny-own/images.png\n"
        "run it      hmdc condense runs/tiny-own/best.yaml\n"
        "MLflow      open it\n"
        "            there\n"
    )
