"""A trial is judged by the same numbers as a run, in its own process, and cannot read the test
split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import RunError
from hmdc_ray.evaluation.conduct import conduct
from hmdc_ray.search.judging import judge, mean_accuracy, worst
from hmdc_ray.search.without_test_split import WithoutTest


@pytest.fixture
def noise(noise: CondensedSet) -> CondensedSet:
    return replace(noise, config={"matching": {"families": ["crop"]}})


def configuration(data: DataConfig, cache: Path, **fields: Any) -> RunConfig:
    evaluation = {
        "students": ["mlp", {"architecture": "convnet", "options": {"width": 4, "depth": 1}}],
        "seeds": 2,
        "epochs": 3,
        "split": "validation",
        **fields,
    }
    located = data.model_copy(update={"cache": str(cache)}).model_dump()
    return RunConfig.model_validate({"data": located, "evaluation": evaluation})


@pytest.mark.parametrize(
    "fields",
    [{}, {"protocol": "idc"}, {"distillation": {"teacher": "mlp", "temperatures": [1.0, 4.0]}}],
    ids=["dc", "idc", "distilled"],
)
def test_the_numbers_are_those_of_an_evaluation(
    fields: dict[str, Any], noise: CondensedSet, three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    config = configuration(three_digits_config, tmp_path, baselines="random", **fields)
    whole = conduct(noise, config, pool=None, executor=InProcess(), progress=lambda done, total: None)
    ours = judge(noise, config, WithoutTest(three_digits), "cpu")
    assert [row.condensed for row in ours.rows] == [row.condensed for row in whole.rows]
    assert [row.random for row in ours.rows] == [None, None]
    means = [row.condensed.mean for row in whole.rows if row.condensed is not None]
    assert mean_accuracy(ours) == sum(means) / 2
    assert worst(ours) == (("mlp", "convnet")[means.index(min(means))], min(means))


def test_a_student_that_diverges_is_told(
    noise: CondensedSet, three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    huge = CondensedSet(noise.images * 1e30, noise.labels, noise.class_names, noise.mean, noise.std)
    with pytest.raises(RunError, match="training diverges"):
        judge(huge, configuration(three_digits_config, tmp_path, epochs=40), WithoutTest(three_digits), "cpu")


def test_judging_on_test_data_is_refused(
    noise: CondensedSet, three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    config = configuration(three_digits_config, tmp_path, split="test")
    with pytest.raises(AssertionError, match="test"):
        judge(noise, config, WithoutTest(three_digits), "cpu")
