from __future__ import annotations

from typing import Any

import pytest

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.evaluation import grouping
from hmdc_ray.evaluation.grouping import groups
from hmdc_ray.evaluation.plan import plan
from hmdc_ray.evaluation.temperature import with_temperatures
from hmdc_ray.evaluation.trial import StudentTrainer, Trial

from .conftest import OWN


def cut(digits: ImageDataset, condensed: CondensedSet, sets: int = 1, **fields: Any) -> list[list[Trial]]:
    config = EvaluationConfig.model_validate({"students": ["mlp"], "seeds": 3, **fields})
    trials = with_temperatures(config, plan(config, formation=condensed.formation, sets=sets), [], [])
    found = groups(trials, StudentTrainer(condensed, digits, config, 0), len(condensed))
    assert sorted(place for places in found for place in places) == list(range(len(trials)))
    return [[trials[place] for place in places] for places in found]


def sizes(found: list[list[Trial]]) -> list[tuple[str, str, int]]:
    return [(group[0].student.name, "+".join(sorted({trial.kind for trial in group})), len(group)) for group in found]


def test_seeds_are_together_and_baselines_and_much_work_is_first(digits: ImageDataset, digit_means: CondensedSet) -> None:
    found = cut(digits, digit_means, students=["mlp", {"architecture": "convnet", "options": {"width": 32}}])
    assert sizes(found) == [
        ("convnet", "kmeans+random", 6),
        ("convnet", "condensed", 3),
        ("mlp", "kmeans+random", 6),
        ("mlp", "condensed", 3),
    ]


def test_groups_hold_one_set_one_recipe_and_as_many_images(digits: ImageDataset, digit_means: CondensedSet) -> None:
    packed = CondensedSet(
        digit_means.images, digit_means.labels, digit_means.class_names, digit_means.mean, digit_means.std, formation=2
    )
    found = cut(digits, packed, sets=2, augmentation_robust=True, baselines="random")
    assert {(group[0].kind, group[0].set_index, group[0].switched): len(group) for group in found} == {
        ("condensed", 0, False): 3,
        ("condensed", 1, False): 3,
        ("random", 0, False): 3,
        ("random_count", 0, False): 3,
        ("condensed", 0, True): 3,
        ("random", 0, True): 3,
    }


def test_groups_are_the_same_where_baselines_are_known(digits: ImageDataset, digit_means: CondensedSet) -> None:
    def condensed(found: list[list[Trial]]) -> list[list[Trial]]:
        return [group for group in found if group[0].kind == "condensed"]

    assert condensed(cut(digits, digit_means)) == condensed(cut(digits, digit_means, baselines="none"))


@pytest.mark.parametrize(
    "fields",
    [
        {"students": [OWN]},
        {"students": ["mlpp"]},
        {"students": [{"architecture": "convnet", "options": {"depth": 9}}]},
        {"distillation": {"teacher": "mlp"}},
        {"baselines": "none", "whole_data_epochs": 1, "seeds": 1},
    ],
    ids=["own", "unknown", "does not fit", "distilled", "whole data"],
)
def test_others_are_alone(digits: ImageDataset, digit_means: CondensedSet, fields: dict[str, Any]) -> None:
    assert all(len(group) == 1 for group in cut(digits, digit_means, **fields))


def test_work_bounds_a_group(digits: ImageDataset, digit_means: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    work = 10 * (256 * 128 + 128 * 128 + 128 * 10)
    for most, expected in ((7 * work, [3, 6]), (4 * work, [3, 3, 3]), (work, [1] * 9), (0, [1] * 9)):
        monkeypatch.setattr(grouping, "MOST_WORK", most)
        assert sorted(map(len, cut(digits, digit_means))) == expected
