"""Whole evaluations in this process: what is trained, what is shared, what is known from before."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation import conduct as conduct_module
from hmdc_ray.evaluation import images, trial

from .conftest import Judge


@pytest.fixture
def means(three_digits: ImageDataset) -> CondensedSet:
    """The mean image of each of three classes, 8x8."""
    info = three_digits.info
    images_KCHW = torch.stack(
        [three_digits.normalised("train", three_digits.class_rows("train", label)).mean(dim=0) for label in range(3)]
    )
    return CondensedSet(images_KCHW, torch.arange(3), info.class_names, info.mean, info.std)


def test_what_was_found_on_real_images_is_not_trained_again(judge: Judge, means: CondensedSet) -> None:
    fields: dict[str, Any] = {"whole_data_epochs": 1, "augmentation_robust": True}
    first = judge(means, **fields)
    assert judge.kinds == {"condensed": 4, "random": 4, "kmeans": 2, "whole_data": 2}
    assert judge.told == [f"{done}/12" for done in range(13)]

    again = judge(replace(means, images=means.images + 0.1), **fields)
    assert judge.kinds == {"condensed": 4}
    assert judge.told == [f"{done}/12" for done in range(13)]
    assert (again.rows[0].random, again.rows[0].whole_data) == (first.rows[0].random, first.rows[0].whole_data)


def test_several_sets_are_paired(judge: Judge, means: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: dict[tuple[int, int], list[bytes]] = {}
    train = trial.StudentTrainer.train_together

    def spy(room: trial.StudentTrainer, networks: Any, trials: list[trial.Trial], rows: Any) -> Any:
        for network, what in zip(networks, trials, strict=True):
            weights = b"".join(value.numpy().tobytes() for value in network.state_dict().values())
            starts.setdefault((what.member_index, what.seed_index), []).append(weights)
        return train(room, networks, trials, rows)

    monkeypatch.setattr(trial.StudentTrainer, "train_together", spy)
    other = replace(means, images=-means.images)

    made = judge({"a": means, "b": other, "same": means}, students=["mlp", "convnet"], baselines="random", epochs=8)

    assert judge.kinds == {"condensed": 12, "random": 4}
    assert all(len(weights) == 4 and len(set(weights)) == 1 for weights in starts.values())
    assert len({weights[0] for weights in starts.values()}) == 4
    a, b, same = made.sets
    assert a.summaries == same.summaries and a.summaries != b.summaries
    assert a.fingerprint == same.fingerprint != b.fingerprint
    assert [row.condensed for row in made.rows] == list(a.summaries.values())
    assert [(each.second, each.architectures[0].architecture) for each in made.comparison] == [("b", "mlp"), ("same", "mlp")]
    assert all(each.difference == 0 and not each.significant for each in made.comparison[1].architectures)


def test_packed_images_are_held_against_as_many_real_ones(
    judge: Judge, means: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: dict[str, list[np.ndarray]] = {}

    def spy(kind: Any, *arguments: Any) -> np.ndarray:
        found = images.chosen_rows(kind, *arguments)
        rows.setdefault(kind, []).append(found)
        return found

    monkeypatch.setattr(conduct_module, "chosen_rows", spy)
    made = judge(replace(means, formation=2), students=["mlp", "convnet"])

    assert {kind: [len(each) for each in found] for kind, found in rows.items()} == {
        "random": [3, 3],
        "kmeans": [3, 3],
        "random_count": [12, 12],
        "kmeans_count": [12, 12],
    }
    assert judge.kinds == dict.fromkeys(("condensed", "random", "kmeans", "random_count", "kmeans_count"), 4)
    assert all(row.random_count is not None and row.kmeans_count is not None for row in made.rows)


def test_a_teacher_is_trained_once_for_its_images_and_seed(judge: Judge, means: CondensedSet) -> None:
    taught: dict[str, Any] = {"distillation": {"teacher": "mlp"}, "students": ["mlp", "convnet"], "baselines": "random"}
    made = judge({"a": means, "b": means}, **taught)

    assert judge.kinds == {"condensed": 8, "random": 4, "teacher condensed": 4, "teacher random": 2}
    assert [row.temperatures for row in made.rows] == [{"condensed": 1.5, "random": 1.5}] * 2
    judge({"a": means, "b": means}, **taught)
    assert judge.kinds == {"condensed": 8, "teacher condensed": 4}  # neither baselines nor their teachers again


def test_temperatures_are_chosen_without_a_look_at_the_test_split(judge: Judge, means: CondensedSet) -> None:
    taught: dict[str, Any] = {"distillation": {"teacher": "mlp", "temperatures": [1, 4]}, "baselines": "none"}
    order: list[str] = []
    judge.tested = Recorded(order)

    made = judge(means, **taught)

    # Two temperatures with two seeds on validation images; only then two students, at the
    # temperature chosen, on test images.
    assert order == ["validation"] * 4 + ["test"] * 2
    assert judge.told[-1] == "6/6"
    assert made.rows[0].temperatures is not None and made.rows[0].temperatures["condensed"] in (1, 4)
    students = [each.temperature for each in judge.trained if each.kind == "condensed"]
    assert students[:4] == [1, 4, 1, 4] and len(set(students[4:])) == 1


class Recorded(Counter[str]):
    """Keeps the order of what is counted."""

    def __init__(self, order: list[str]) -> None:
        super().__init__()
        self._order = order

    def __setitem__(self, key: str, value: int) -> None:
        self._order.append(key)
        super().__setitem__(key, value)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("mpl", "evaluation.distillation.teacher: architecture 'mpl'"),
        ("lenet", "evaluation.distillation.teacher: architecture 'lenet': images are 1x8x8"),
    ],
)
def test_a_teacher_that_cannot_be_built_is_told_before_anything_is_trained(
    judge: Judge, means: CondensedSet, teacher: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as told:
        judge(means, distillation={"teacher": teacher})
    assert "\n" not in str(told.value) and judge.trained == []


def test_a_teacher_that_diverges_is_one_line(judge: Judge, means: CondensedSet) -> None:
    teacher = {"architecture": "mlp", "learning_rate": 100}
    huge = replace(means, images=means.images * 1e30)
    made = judge(huge, distillation={"teacher": teacher}, baselines="none", seeds=1)
    told = r"teacher 'mlp' on condensed images, seed 0 .* set evaluation\.distillation\.teacher"
    assert re.match(told, made.rows[0].problem) and made.rows[0].condensed is None
    assert judge.kinds == {"teacher condensed": 1}


def test_families_of_the_first_set_count_for_all(judge: Judge, means: CondensedSet) -> None:
    knowing = replace(means, config={"matching": {"families": ["crop"]}})
    made = judge([knowing, means], protocol="idc", baselines="none")
    assert made.recipe is not None and made.recipe.families == ("crop",)
