"""Evaluations as Ray tasks: the same numbers as in this process, and errors that are told in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hmdc_ray.actors.evaluation import evaluate_on_ray
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import RunError
from hmdc_ray.evaluation.course import conduct
from hmdc_ray.evaluation.executor import InProcess


@pytest.fixture
def noise(three_digits: ImageDataset) -> CondensedSet:
    info = three_digits.info
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return CondensedSet(images, torch.arange(3), info.class_names, info.mean, info.std)


def configuration(data: DataConfig, cache: Path, **fields: Any) -> RunConfig:
    located = data.model_copy(update={"cache": str(cache)}).model_dump()
    evaluation = {"students": ["mlp"], "seeds": 2, "epochs": 3, "baselines": "random", **fields}
    return RunConfig.model_validate({"data": located, "evaluation": evaluation})


def test_ray_tasks_give_the_same_numbers(
    ray_local: None, noise: CondensedSet, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    taught = {"distillation": {"teacher": "mlp", "temperatures": [1, 4]}}
    sets = {"a": noise, "b": replace(noise, formation=2)}
    told: list[tuple[int, int]] = []
    ours = conduct(
        sets,
        configuration(three_digits_config, tmp_path / "here", **taught),
        pool=None,
        executor=InProcess(),
        progress=lambda done, total: None,
    )
    theirs = evaluate_on_ray(
        sets,
        configuration(three_digits_config, tmp_path / "there", **taught),
        pool=None,
        progress=lambda *numbers: told.append(numbers),
        check=lambda: None,
    )
    assert theirs == ours
    assert told == [(done, 18) for done in range(19)]


def test_divergence_is_one_line(ray_local: None, noise: CondensedSet, three_digits_config: DataConfig, tmp_path: Path) -> None:
    huge = replace(noise, images=noise.images * 1e30)
    config = configuration(three_digits_config, tmp_path, baselines="none", epochs=40)
    with pytest.raises(RunError, match=r"^student 'mlp' on condensed images, seed \d of run seed 0: the loss is") as told:
        evaluate_on_ray(huge, config, pool=None, progress=lambda done, total: None, check=lambda: None)
    assert "\n" not in str(told.value) and "Traceback" not in str(told.value)
