from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.evaluation.baselines import Baseline, baseline_rows


def make_set(digits: ImageDataset, labels: list[int], formation: int = 1) -> CondensedSet:
    info = digits.info
    images = torch.zeros(len(labels), 1, 16, 16)
    return CondensedSet(images, torch.tensor(labels), info.class_names, info.mean, info.std, formation)


@pytest.mark.parametrize("kind", get_args(Baseline))
def test_as_many_images_of_each_class_as_are_stored(kind: Baseline, digits: ImageDataset) -> None:
    condensed = make_set(digits, [7, 2, 2, 2, 9], formation=2)

    rows = baseline_rows(kind, 0, condensed, digits, run_seed=1)

    assert sorted(digits.labels("train")[rows].tolist()) == [2, 2, 2, 7, 9]
    assert len(set(rows.tolist())) == 5


@pytest.mark.parametrize("kind", get_args(Baseline))
def test_as_many_images_as_are_decoded(kind: Baseline, digits: ImageDataset) -> None:
    condensed = make_set(digits, [7, 2, 2, 9], formation=2)

    rows = baseline_rows(kind, 0, condensed, digits, run_seed=1, per_stored=4)

    assert np.bincount(digits.labels("train")[rows], minlength=10).tolist() == [0, 0, 8, 0, 0, 0, 0, 4, 0, 4]
    assert len(set(rows.tolist())) == 16


@pytest.mark.parametrize("kind", get_args(Baseline))
def test_a_draw_depends_on_the_seeds_and_not_on_the_condensed_images(
    kind: Baseline, digits: ImageDataset, digit_means: CondensedSet
) -> None:
    other = replace(digit_means, images=torch.zeros_like(digit_means.images))

    first = baseline_rows(kind, 0, digit_means, digits, run_seed=1).tolist()

    assert baseline_rows(kind, 0, other, digits, run_seed=1).tolist() == first
    assert baseline_rows(kind, 1, digit_means, digits, run_seed=1).tolist() != first
    assert baseline_rows(kind, 0, digit_means, digits, run_seed=2).tolist() != first


def test_kmeans_images_are_more_typical_than_random_ones(digits: ImageDataset, digit_means: CondensedSet) -> None:
    def distance(kind: Baseline) -> float:
        rows = [baseline_rows(kind, seed, digit_means, digits, 0) for seed in range(2)]
        return float(np.mean([(digits.normalised("train", draw) - digit_means.images).square().mean() for draw in rows]))

    assert distance("kmeans") < 0.8 * distance("random")


def test_a_small_class_gives_all_it_has(digits: ImageDataset) -> None:
    size = len(digits.class_rows("train", 4))
    condensed = make_set(digits, [4] * (size + 5))

    for kind in get_args(Baseline):
        assert sorted(baseline_rows(kind, 0, condensed, digits, 0).tolist()) == digits.class_rows("train", 4).tolist()
