"""Accuracies on real images are taken again where all that they depend on is the same, and only
there."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import RunConfig, StudentConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.evaluation.cache import BaselineCache
from hmdc_ray.evaluation.trial import Trial


class Entry:
    """The place of one accuracy on random images."""

    def __init__(self, config: RunConfig, condensed: CondensedSet, dataset: ImageDataset) -> None:
        self._cache = BaselineCache(config, condensed, dataset.info)
        temperature = None if config.evaluation.distillation is None else 1.5
        self.trial = Trial("random", config.evaluation.students[0], 0, 0, temperature=temperature)
        self._split = config.evaluation.split

    def get(self) -> float | None:
        return self._cache.get(self.trial, self._split)

    def put(self, accuracy: float) -> None:
        self._cache.put(self.trial, self._split, accuracy)


Entries = Callable[..., Entry]


@pytest.fixture
def entry(digits: ImageDataset, digit_means: CondensedSet, tmp_path: Path) -> Entries:
    def made(condensed: CondensedSet = digit_means, **fields: Any) -> Entry:
        run: dict[str, Any] = {key: fields.pop(key) for key in ("seed", "cluster", "matching") if key in fields}
        data: dict[str, Any] = {"data": {"cache": str(tmp_path)}, "evaluation": {"students": ["mlp"], **fields}, **run}
        return Entry(RunConfig.model_validate(data), condensed, digits)

    return made


def test_what_is_kept_serves_other_condensed_images_and_other_names(entry: Entries, digit_means: CondensedSet) -> None:
    kept = entry()
    assert kept.get() is None
    kept.put(0.5)
    assert kept.get() == entry(replace(digit_means, images=digit_means.images + 0.1)).get() == 0.5
    named = entry()
    named.trial = replace(named.trial, student=StudentConfig(architecture="mlp", name="first"), member_index=3)
    assert named.get() == 0.5
    named.trial = replace(named.trial, kind="condensed")
    named.put(0.25)
    assert named.get() is None


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 9},
        {"epochs": 3},
        {"split": "validation"},
        {"augmentation": True},
        {"students": [{"architecture": "mlp", "options": {"width": 16}}]},
        {"students": [{"architecture": "mlp", "learning_rate": 0.02}]},
        {"threads": 2},
        {"distillation": {"teacher": "mlp"}},
    ],
    ids=str,
)
def test_what_an_accuracy_depends_on_has_its_own(entry: Entries, changed: dict[str, Any]) -> None:
    first, other = entry(), entry(**changed)
    first.put(0.5)
    assert other.get() is None
    other.put(0.25)
    assert (first.get(), other.get()) == (0.5, 0.25)


def test_so_have_other_statistics_and_another_number_of_images(entry: Entries, digit_means: CondensedSet) -> None:
    entry().put(0.5)
    images, labels = digit_means.images.repeat(2, 1, 1, 1), digit_means.labels.repeat(2)
    assert entry(replace(digit_means, mean=(0.4,))).get() is None
    assert entry(replace(digit_means, images=images, labels=labels)).get() is None


def test_accuracies_of_another_format_are_not_taken(entry: Entries) -> None:
    def on_gpu(precision: str, num_gpus: float = 1.0) -> Entry:
        return entry(matching={"precision": precision}, num_gpus=num_gpus)

    on_gpu("float32").put(0.5)
    assert on_gpu("float32").get() == on_gpu("bfloat16").get() == 0.5
    assert on_gpu("tf32").get() is on_gpu("float32", 0).get() is None


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": {}, "accuracy": 0.5}', "huge", "text"])
def test_a_damaged_entry_is_ignored_with_a_warning(
    entry: Entries, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry().put(0.5)
    (file,) = (tmp_path / "baselines").iterdir()
    whole = json.loads(file.read_text())
    whole_damaged = {"huge": json.dumps(whole | {"accuracy": 7.0}), "text": json.dumps(whole | {"accuracy": "0.5"})}
    file.write_text(whole_damaged.get(damage, damage))
    with caplog.at_level(logging.WARNING):
        assert entry().get() is None
    assert f"{file} is damaged" in caplog.text
    entry().put(0.5)
    assert json.loads(file.read_text()) == whole


def test_a_cache_that_cannot_be_written_costs_no_evaluation(
    entry: Entries, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "baselines").write_text("in the way")
    entry().put(0.5)
    assert "is not kept" in caplog.text and entry().get() is None


def test_a_network_of_the_users_own_is_not_kept(entry: Entries, tmp_path: Path) -> None:
    own = entry(students=["cached_net:net"])
    own.put(0.5)
    assert own.get() is None and not (tmp_path / "baselines").exists()


def test_a_checkpoint_counts_by_its_content(entry: Entries, tmp_path: Path) -> None:
    file = tmp_path / "weights"
    student = {"architecture": "mlp", "weights": f"checkpoint:{file}"}
    for content in (b"a", b"b"):
        file.write_bytes(content)
        assert entry(students=[student]).get() is None
        entry(students=[student]).put(0.5)
    assert entry(students=[student]).get() == 0.5
