"""A run describes itself to its tracker once; a store that is not there is told before it
begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_runs import tiniest

from hmdc_ray.config import TrackingConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.errors import InputError
from hmdc_ray.run.tracking import check_tracking, open_tracking
from hmdc_ray.system.files import read_json_lines


def test_a_run_is_described_once(tmp_path: Path) -> None:
    config = tiniest(tmp_path, tracking={"enabled": True})
    info = open_dataset(config.data).info
    for _ in range(2):
        open_tracking(config, info, tmp_path / "run", None).finish("KILLED")
    records = read_json_lines(tmp_path / "run" / "tracking" / "records.jsonl")
    assert [record["kind"] for record in records] == ["state", "parameters", "dataset", *["state"] * 3]
    assert records[1]["values"]["seed"] == str(config.seed) and records[2]["sizes"]["train"] == info.sizes["train"]
    untracked = tiniest(tmp_path)
    open_tracking(untracked, info, tmp_path / "untracked", None).finish("FINISHED")
    assert not (tmp_path / "untracked").exists() and not (tmp_path / "mlflow.db").exists()


def test_a_store_of_another_kind_is_asked_for_before_a_run_begins(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tracking.uri 'ftp:/nowhere' cannot be used: .*must be a working MLflow store"):
        check_tracking(TrackingConfig(uri="ftp:/nowhere"), tmp_path)
    check_tracking(TrackingConfig(uri="ftp:/nowhere", enabled=False), tmp_path)
