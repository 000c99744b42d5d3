"""Evaluations as Ray tasks: the same numbers as in this process, and errors that are told in one
line."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess
from torch import Tensor, nn

from hmdc_ray.actors.evaluation import evaluate_on_ray
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.evaluation.conduct import conduct
from hmdc_ray.models import ImageShape


def fails_in_training(shape: ImageShape, classes: int) -> nn.Module:
    """A user's network with a mistake that shows in training alone."""

    class Failing(nn.Module):
        def forward(self, vectors_BD: Tensor) -> Tensor:
            if self.training:
                fails()
            return vectors_BD

    def fails() -> None:
        raise ZeroDivisionError("a mistake\nof several lines")

    return nn.Sequential(nn.Flatten(), Failing(), nn.Linear(shape.channels * shape.height * shape.width, classes))


def configuration(data: DataConfig, cache: Path, **fields: Any) -> RunConfig:
    located = data.model_copy(update={"cache": str(cache)}).model_dump()
    evaluation = {"students": ["mlp"], "seeds": 2, "epochs": 3, "baselines": "random", "num_gpus": 0, **fields}
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


def test_students_that_fail_leave_the_others_alone(
    ray_local: None,
    noise: CondensedSet,
    three_digits_config: DataConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])  # from where workers import the network
    huge = replace(noise, images=noise.images * 1e30)
    own = {"name": "own", "architecture": f"{__name__}:fails_in_training"}
    config = configuration(three_digits_config, tmp_path, epochs=40, students=["mlp", own])
    made = evaluate_on_ray(huge, config, pool=None, progress=lambda done, total: None, check=lambda: None)
    mlp, failing = made.rows
    assert mlp.condensed is None and mlp.random is not None
    assert re.match(r"student 'mlp' on condensed images, seed \d of run seed 0: the loss is", mlp.problem)
    assert failing.problem == (
        "student 'own' on condensed images, seed 0 of run seed 0: ZeroDivisionError: a mistake (3 more of its trainings failed)"
    )
    tracebacks = {trial.student: trial.traceback for trial in made.failed}
    assert tracebacks["mlp"] == "" and "in fails" in tracebacks["own"]
