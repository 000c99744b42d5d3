import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import MemberConfig
from hmdc_ray.data.dataset import ImageDataset

from .conftest import evaluation


def test_rows_gather_each_students_seeds(digits: ImageDataset, digit_means: CondensedSet) -> None:
    made = evaluation(digits, digit_means, pool=[MemberConfig(architecture="mlp")])

    assert [(row.architecture, row.in_pool) for row in made.rows] == [("mlp", True), ("lenet", False)]
    assert made.rows[0].condensed is not None and made.rows[0].condensed.values == pytest.approx((0.60, 0.61, 0.62))
    assert made.rows[1].kmeans is not None and made.rows[1].kmeans.values == pytest.approx((0.35, 0.36, 0.37))


def test_unpacked_sets_have_one_kind_of_fair(digits: ImageDataset, digit_means: CondensedSet) -> None:
    for row in evaluation(digits, digit_means).rows:
        assert row.random_count is row.random is not None and row.kmeans_count is row.kmeans is not None
    for row in evaluation(digits, digit_means, count_fair=False).rows:
        assert row.random is not None and row.random_count is row.kmeans_count is None


def test_packed_sets_have_both(digits: ImageDataset, digit_means: CondensedSet) -> None:
    made = evaluation(digits, replace(digit_means, formation=2))
    assert [round(row.random_count.mean, 6) for row in made.rows if row.random_count] == [0.71, 0.51]
    assert [round(row.kmeans_count.mean, 6) for row in made.rows if row.kmeans_count] == [0.76, 0.56]


def test_scores_are_those_of_dd_ranking(digits: ImageDataset, digit_means: CondensedSet) -> None:
    def normalised(value: float) -> float:
        return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))

    made = evaluation(digits, digit_means, whole_data_epochs=3, augmentation_robust=True)
    row = made.rows[0]
    assert row.whole_data is not None and row.whole_data.mean == pytest.approx(0.91)
    assert row.label_robust_score == pytest.approx(normalised(0.5 * 0.1 - 0.5 * 0.3))
    assert row.condensed_switched is not None and row.condensed_switched.mean == pytest.approx(0.64)
    assert row.augmentation_robust_score == pytest.approx(normalised(0.5 * 0.1 + 0.5 * 0.1))
    plain = evaluation(digits, digit_means).rows[0]
    assert (plain.whole_data, plain.random_switched) == (None, None)
    assert (plain.label_robust_score, plain.augmentation_robust_score) == (None, None)
    alone = evaluation(digits, digit_means, whole_data_epochs=3, baselines="none").rows[0]
    assert alone.whole_data is not None and alone.label_robust_score is None


def test_temperatures_are_reported(digits: ImageDataset, digit_means: CondensedSet) -> None:
    taught: dict[str, Any] = {"distillation": {"temperatures": [1.5, 4]}, "baselines": "random", "whole_data_epochs": 3}
    made = evaluation(digits, {"a": digit_means, "b": digit_means}, **taught)
    assert [row.temperatures for row in made.rows] == [{"condensed": 4.0, "random": 4.0}] * 2
    assert [entry.temperatures for entry in made.sets] == [{"mlp": 4.0, "lenet": 4.0}] * 2
    assert made.rows[0].whole_data is not None and made.rows[0].label_robust_score is None
    assert made.distillation is not None and made.distillation["alpha"] == 0.5
    assert evaluation(digits, digit_means).rows[0].temperatures is None


def test_sets_are_compared_with_the_first(digits: ImageDataset, digit_means: CondensedSet, tmp_path: Path) -> None:
    other = replace(digit_means, images=digit_means.images + 1)
    made = evaluation(digits, {"a": digit_means, "b": other, "c": digit_means})

    assert [entry.name for entry in made.sets] == ["a", "b", "c"]
    fingerprints = [entry.fingerprint for entry in made.sets]
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]
    assert made.rows[0].condensed == made.sets[0].summaries["mlp"]
    lenet = made.sets[1].summaries["lenet"]
    assert lenet is not None and lenet.values == pytest.approx((0.5, 0.52, 0.54))
    assert [(each.first, each.second) for each in made.comparison] == [("a", "b"), ("a", "c")]
    first = made.comparison[0].architectures[0]
    assert (first.architecture, first.significant) == ("mlp", True)
    assert first.difference == pytest.approx(0.11)
    made.write(tmp_path / "evaluation.json")
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["comparison"][0]["architectures"][0]["difference"] == first.difference
    assert set(content["sets"][0]["summaries"]) == {"mlp", "lenet"}


def test_one_seed_compares_nothing(digits: ImageDataset, digit_means: CondensedSet) -> None:
    made = evaluation(digits, [digit_means, digit_means], seeds=1)
    assert [entry.name for entry in made.sets] == ["condensed 1", "condensed 2"]
    assert made.comparison == ()
