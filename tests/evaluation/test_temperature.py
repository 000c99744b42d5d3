from dataclasses import replace
from typing import Any

import pytest

from hmdc_ray.config import EvaluationConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.plan import plan
from hmdc_ray.evaluation.temperature import candidates, require_validation, with_temperatures


def taught(temperatures: list[float], **fields: Any) -> EvaluationConfig:
    data = {"students": ["mlp", "lenet"], "seeds": 2, "baselines": "random", "distillation": {"temperatures": temperatures}}
    return EvaluationConfig.model_validate({**data, **fields})


def test_without_a_teacher_or_a_choice_nothing_is_tried() -> None:
    alone, fixed = taught([1], distillation=None), taught([2])
    assert candidates(alone, plan(alone)) == candidates(fixed, plan(fixed)) == []
    assert {trial.temperature for trial in with_temperatures(alone, plan(alone), [], [])} == {None}
    assert {trial.temperature for trial in with_temperatures(fixed, plan(fixed), [], [])} == {2}


def test_the_best_mean_over_seeds_is_chosen_for_each_student_and_kind() -> None:
    config = taught([1, 2, 4], whole_data_epochs=3)
    trials = plan(config)
    tried = candidates(config, trials)
    assert len(tried) == 3 * sum(trial.kind != "whole_data" for trial in trials)
    assert {trial.kind for trial in tried} == {"condensed", "random"}
    # By (student, kind): accuracies of the two seeds at 1, 2 and 4.
    accuracies = {
        (0, "condensed"): [(0.5, 0.5), (0.9, 0.2), (0.5, 0.4)],  # the mean counts, not the best seed
        (0, "random"): [(0.1, 0.1), (0.1, 0.2), (0.1, 0.1)],
        (1, "condensed"): [(0.3, 0.3), (0.2, 0.4), (0.1, 0.1)],  # equal: the first
        (1, "random"): [(0.1, 0.1), (0.1, 0.1), (0.2, 0.2)],
    }
    found = [
        accuracies[trial.member_index, trial.kind][[1, 2, 4].index(int(trial.temperature or 0))][trial.seed_index]
        for trial in tried
    ]

    chosen = with_temperatures(config, trials, tried, found)

    expected = {(0, "condensed"): 2, (0, "random"): 2, (1, "condensed"): 1, (1, "random"): 4}
    for before, after in zip(trials, chosen, strict=True):
        assert after == replace(before, temperature=expected.get((before.member_index, before.kind)))


def test_a_choice_needs_validation_images(digits: ImageDataset) -> None:
    info = replace(digits.info, sizes={**digits.info.sizes, "validation": 0})
    require_validation(taught([2]), info)
    require_validation(taught([1, 2]), digits.info)
    with pytest.raises(InputError, match=r"temperatures is \[1.0, 2.0\], .* 'digits' has none: give one temperature"):
        require_validation(taught([1, 2]), info)
