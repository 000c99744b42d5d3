"""Runs with networks and data of one's own on Ray, and what ends before a run begins."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from whole_runs import CommandLine, tiny, tree, without_ray, write_config, write_images

from hmdc_ray import condense
from hmdc_ray.config.io import load_config
from hmdc_ray.errors import InputError


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


NETWORKS = """
from torch import nn
from hmdc_ray.models import Architecture, TapSpec

def small(shape, classes, width: int = 4):
    module = nn.Sequential(
        nn.Conv2d(shape.channels, width, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(width * (shape.height // 2) * (shape.width // 2), classes),
    )
    return Architecture(module, taps=(TapSpec("2", "map"),))
"""


def test_a_network_and_data_of_ones_own_are_found_by_workers_started_elsewhere(
    ray_local: None, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_network.py").write_text(NETWORKS)
    write_images(tmp_path / "images" / "train.parquet", [0, 1, 2] * 10)
    students = {"students": [{"architecture": "own_network:small", "options": {"width": 5}}]}
    pool = {"members": [{"architecture": "own_network:small", "options": {"width": 5}}, {"architecture": "mlp"}]}
    write_config(tmp_path / "own.yaml", tiny(cache, pool=pool, evaluation=students, schedule={"iterations": 1, "steps": 2}))
    hmdc = CommandLine(monkeypatch, capsys)
    hmdc.succeeds("condense", "own.yaml", "--data", "images", "--output", "run")
    report = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert [(row["architecture"], row["in_pool"]) for row in report["rows"]] == [("small", True)]
    assert load_config(tmp_path / "run").data.source == str(tmp_path / "images")


def test_what_a_worker_refuses_is_one_line_and_the_folder_stays(
    ray_local: None, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is known to this process only; the run that was to be replaced is still there."""
    module = type(sys)("only_here")
    exec(NETWORKS, module.__dict__)  # what a file would hold
    monkeypatch.setitem(sys.modules, "only_here", module)
    with monkeypatch.context() as here:
        without_ray(here)
        condense(tiny(cache, schedule={"iterations": 1, "steps": 1}), tmp_path / "run")
    before = tree(tmp_path / "run")
    with pytest.raises(InputError, match=r"^architecture 'only_here:small': module 'only_here' cannot be imported"):
        condense(tiny(cache, pool={"members": ["only_here:small"]}), tmp_path / "run", overwrite=True)
    assert tree(tmp_path / "run") == before


def test_a_cluster_that_lacks_what_a_member_asks_for_is_named(ray_local: None, cache: Path, tmp_path: Path) -> None:
    pool = {"members": [{"architecture": "mlp", "num_gpus": 50}]}
    with pytest.raises(InputError, match=r"pool member 'mlp' .* did not start within cluster\.start_timeout 1 s.*num_gpus 50"):
        condense(tiny(cache, pool=pool, cluster={"start_timeout": 1.0}), tmp_path / "run")
    assert tree(tmp_path / "run") == {}
