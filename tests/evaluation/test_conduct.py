"""Whole evaluations in this process: what is trained, what is shared, what is known from before."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import InProcess

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation import conduct as conduct_module
from hmdc_ray.evaluation import images, plan, trial
from hmdc_ray.evaluation.conduct import conduct
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.sets import Sets


@pytest.fixture
def means(three_digits: ImageDataset) -> CondensedSet:
    """The mean image of each of three classes, 8x8."""
    info = three_digits.info
    images_KCHW = torch.stack(
        [three_digits.normalised("train", three_digits.class_rows("train", label)).mean(dim=0) for label in range(3)]
    )
    return CondensedSet(images_KCHW, torch.arange(3), info.class_names, info.mean, info.std)


class Judge:
    """Evaluates, and counts what was trained."""

    def __init__(self, data: DataConfig, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._data = data.model_copy(update={"cache": str(cache)})
        self.trained: list[trial.Trial] = []
        self.told: list[str] = []
        self.tested: Counter[str] = Counter()
        train, batches = trial.StudentTrainer.train, images.split_batches

        def counted(room: trial.StudentTrainer, network: Any, what: trial.Trial, *others: Any, **more: Any) -> None:
            self.trained.append(replace(what, kind=f"teacher {what.kind}") if more.get("role") else what)  # type: ignore[arg-type]
            train(room, network, what, *others, **more)

        def tested(dataset: ImageDataset, split: Any, *others: Any) -> Iterator[Any]:
            self.tested[split] += 1
            yield from batches(dataset, split, *others)

        monkeypatch.setattr(trial.StudentTrainer, "train", counted)
        monkeypatch.setattr(plan, "split_batches", tested)

    def __call__(self, condensed: Sets, **fields: Any) -> Evaluation:
        self.trained.clear()
        self.told.clear()
        self.tested.clear()
        run = {key: fields.pop(key) for key in ("seed", "cluster") if key in fields}
        evaluation = {"students": ["mlp"], "seeds": 2, "epochs": 2, **fields}
        config = RunConfig.model_validate({"data": self._data.model_dump(), "evaluation": evaluation, **run})

        def progress(done: int, total: int) -> None:
            self.told.append(f"{done}/{total}")

        return conduct(condensed, config, pool=None, executor=InProcess(), progress=progress)

    @property
    def kinds(self) -> dict[str, int]:
        """How many networks were trained on each kind of images."""
        return dict(Counter(str(each.kind) for each in self.trained))


@pytest.fixture
def judge(three_digits_config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judge:
    return Judge(three_digits_config, tmp_path / "cache", monkeypatch)


def test_what_was_found_on_real_images_is_not_trained_again(judge: Judge, means: CondensedSet) -> None:
    fields = {"whole_data_epochs": 1, "augmentation_robust": True}
    first = judge(means, **fields)
    assert judge.kinds == {"condensed": 4, "random": 4, "kmeans": 2, "whole_data": 2}
    assert judge.told == [f"{done}/12" for done in range(13)]

    again = judge(replace(means, images=means.images + 0.1), **fields)
    assert judge.kinds == {"condensed": 4}
    assert judge.told == [f"{done}/12" for done in range(13)]
    assert (again.rows[0].random, again.rows[0].whole_data) == (first.rows[0].random, first.rows[0].whole_data)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 9},
        {"epochs": 3},
        {"split": "validation"},
        {"augmentation": True},
        {"students": [{"architecture": "mlp", "options": {"width": 16}}]},
        {"students": [{"architecture": "mlp", "learning_rate": 0.02}]},
        {"cluster": {"threads": 2}},
        {"distillation": {"teacher": "mlp"}},
        {"formation": 2},
        {"mean": (0.4,)},
    ],
    ids=str,
)
def test_what_an_accuracy_depends_on_is_trained_anew(judge: Judge, means: CondensedSet, changed: dict[str, Any]) -> None:
    fields = {"baselines": "random", "count_fair": False, "seeds": 1}
    judge(means, **fields)
    more = dict(changed)
    other = replace(means, **{name: more.pop(name) for name in ("mean",) if name in more})
    if more.pop("formation", None):  # twice as many stored images
        other = replace(means, images=means.images.repeat(2, 1, 1, 1), labels=means.labels.repeat(2))
    judge(other, **fields, **more)
    assert judge.kinds["random"] == 1
    judge(other, **fields, **more)
    assert "random" not in judge.kinds


def test_a_students_name_and_place_do_not_matter(judge: Judge, means: CondensedSet) -> None:
    judge(means, baselines="random")
    named = {"architecture": "mlp", "name": "first"}
    judge(means, baselines="random", students=[{"architecture": "mlp", "options": {"width": 8}}, named])
    assert judge.kinds == {"condensed": 4, "random": 2}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": {}, "accuracy": 0.5}', "huge", "text"])
def test_a_damaged_entry_is_ignored_with_a_warning(
    judge: Judge, means: CondensedSet, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = judge(means, baselines="random", seeds=1)
    (file,) = (tmp_path / "cache" / "baselines").iterdir()
    whole = json.loads(file.read_text())
    whole_damaged = {"huge": json.dumps(whole | {"accuracy": 7.0}), "text": json.dumps(whole | {"accuracy": "0.5"})}
    file.write_text(whole_damaged.get(damage, damage))
    with caplog.at_level(logging.WARNING):
        again = judge(means, baselines="random", seeds=1)
    assert judge.kinds["random"] == 1 and again == first
    assert f"{file} is damaged" in caplog.text
    assert json.loads(file.read_text()) == whole  # and it is whole again


def test_a_cache_that_cannot_be_written_costs_no_evaluation(
    judge: Judge, means: CondensedSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "baselines").write_text("in the way")
    assert judge(means, baselines="random").rows[0].random is not None
    assert "is not kept" in caplog.text


def test_a_network_of_the_users_own_is_not_kept(
    judge: Judge, means: CondensedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from torch import nn\ndef net(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n"
    (tmp_path / "cached_net.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    for _ in range(2):
        judge(means, baselines="random", students=["cached_net:net"])
        assert judge.kinds == {"condensed": 2, "random": 2}


def test_several_sets_are_paired(judge: Judge, means: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: dict[tuple[int, int], list[bytes]] = {}
    train = trial.StudentTrainer.train

    def spy(room: trial.StudentTrainer, network: Any, what: trial.Trial, *others: Any, **more: Any) -> None:
        weights = b"".join(value.numpy().tobytes() for value in network.state_dict().values())
        starts.setdefault((what.member_index, what.seed_index), []).append(weights)
        train(room, network, what, *others, **more)

    monkeypatch.setattr(trial.StudentTrainer, "train", spy)
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
    taught = {"distillation": {"teacher": "mlp"}, "students": ["mlp", "convnet"], "baselines": "random"}
    made = judge({"a": means, "b": means}, **taught)

    assert judge.kinds == {"condensed": 8, "random": 4, "teacher condensed": 4, "teacher random": 2}
    assert [row.temperatures for row in made.rows] == [{"condensed": 1.5, "random": 1.5}] * 2
    judge({"a": means, "b": means}, **taught)
    assert judge.kinds == {"condensed": 8, "teacher condensed": 4}  # neither baselines nor their teachers again


def test_temperatures_are_chosen_without_a_look_at_the_test_split(judge: Judge, means: CondensedSet) -> None:
    taught = {"distillation": {"teacher": "mlp", "temperatures": [1, 4]}, "baselines": "none"}
    order: list[str] = []
    judge.tested = Recorded(order)

    made = judge(means, **taught)

    # Two temperatures with two seeds on validation images; only then two students, at the temperature chosen, on test images.
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
