"""What a run may be resumed from, and what its folder is made to hold before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.messages import State
from hmdc_ray.run.resume import require_same, require_unused, resume_from
from hmdc_ray.server.checkpoint import SERVER, CheckpointFolder
from hmdc_ray.server.identity import identity
from hmdc_ray.system.files import read_json_lines


def run(iterations: int = 2, **schedule: Any) -> RunConfig:
    return RunConfig.model_validate({"schedule": {"iterations": iterations, "steps": 2, **schedule}})


def save(folder: Path, config: RunConfig, info: DatasetInfo, version: int) -> None:
    shape = (len(info.class_names), 1, info.shape.channels, info.shape.height, info.shape.width)
    arrays: dict[str, np.ndarray] = {name: np.zeros(shape, np.float32) for name in ("images", "momentum", "history", "losses")}
    made_with = json.loads(json.dumps(identity(config, info)))
    CheckpointFolder.of_run(folder, config.schedule).save(version, {SERVER: State(arrays, {"version": version})}, made_with)


def metrics(folder: Path, *steps: object) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": step, "loss": 0.5}) + "\n" for step in steps))


def test_metrics_are_cut_back_to_the_checkpoint(three_digits: ImageDataset, tmp_path: Path) -> None:
    info = three_digits.info
    metrics(tmp_path, 1, 2, 3, 4)
    save(tmp_path, run(), info, 2)
    assert resume_from(tmp_path, run(), info)[0] == 2
    assert [record["step"] for record in read_json_lines(tmp_path / "metrics.jsonl")] == [1, 2]
    metrics(tmp_path, 1, "2")
    with pytest.raises(InputError, match=r"metrics\.jsonl line 2 has step '2': must be a whole number"):
        resume_from(tmp_path, run(), info)


def test_without_a_checkpoint_a_run_begins_again(three_digits: ImageDataset, tmp_path: Path) -> None:
    metrics(tmp_path, 1)
    assert resume_from(tmp_path, run(), three_digits.info)[0] == 0
    assert read_json_lines(tmp_path / "metrics.jsonl") == []


def test_a_run_cannot_end_before_its_checkpoint(three_digits: ImageDataset, tmp_path: Path) -> None:
    save(tmp_path, run(), three_digits.info, 4)
    with pytest.raises(InputError, match=r"schedule\.iterations 1 x steps 2 is less than the 4 steps that the run in"):
        resume_from(tmp_path, run(iterations=1), three_digits.info)


def test_checkpoints_of_another_run_are_not_taken_over(three_digits: ImageDataset, tmp_path: Path) -> None:
    config = run(checkpoint_uri=str(tmp_path / "store"))
    require_unused(tmp_path / "new", config)
    save(tmp_path / "old", config, three_digits.info, 2)
    with pytest.raises(InputError, match="which holds checkpoints of a run: resume it"):
        require_unused(tmp_path / "new", config)


def test_values_that_differ_are_named_unless_they_may() -> None:
    asked, begun = {"config.seed": 4, "b": 1, "GPU format": "tf32"}, {"config.seed": 3, "b": 1}
    with pytest.raises(InputError) as told:
        require_same(asked, begun, "the run was begun", otherwise="go elsewhere")
    assert str(told.value) == (
        "seed is 4, but the run was begun with 3 (also GPU format): resume with the same value, or go elsewhere"
    )
    with pytest.raises(InputError, match=r"^GPU format is 'tf32', but the run was begun with 'none, on CPUs': resume"):
        require_same(asked, begun, "the run was begun", ignored=["config.seed"])
    require_same(asked, begun, "the run was begun", ignored=["config.seed", "GPU format"])
