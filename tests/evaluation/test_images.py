"""The images of a trial, and how all of them are normalised: with the condensed set's own
statistics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.evaluation.images import TEST_BATCH, chosen_rows, split_batches, training_images


@pytest.fixture
def odd(digit_means: CondensedSet) -> CondensedSet:
    """A set with other statistics than its data has."""
    return replace(digit_means, mean=(0.9,), std=(0.05,))


def by_hand(digits: ImageDataset, split: str, rows: np.ndarray) -> Tensor:
    return (digits.pixels(split, rows) / 255 - 0.9) / 0.05  # type: ignore[arg-type]


def test_formation_is_decoded_for_training(digits: ImageDataset, digit_means: CondensedSet) -> None:
    packed = replace(digit_means, images=digit_means.images[:, :, ::2, ::2].repeat(1, 1, 2, 2), formation=2)
    images, labels = training_images("condensed", 0, packed, digits, 0, rows=None, device="cpu")
    assert isinstance(images, Tensor) and images.shape == (40, 1, 16, 16)
    assert labels.bincount().tolist() == [4] * 10
    torch.testing.assert_close(images[:, :, 0, 0], digit_means.images[labels, :, 0, 0])


def test_real_images_are_those_of_the_rows(digits: ImageDataset, odd: CondensedSet) -> None:
    rows = np.array([700, 3, 5])
    images, labels = training_images("random", 0, odd, digits, 0, rows=rows, device="cpu")
    assert isinstance(images, Tensor)
    torch.testing.assert_close(images, by_hand(digits, "train", rows))
    assert labels.tolist() == digits.labels("train")[rows].tolist()
    chosen, _ = training_images("random", 1, odd, digits, 7, rows=None, device="cpu")
    assert isinstance(chosen, Tensor)
    torch.testing.assert_close(chosen, by_hand(digits, "train", chosen_rows("random", 1, odd, digits, 7)))


def test_the_whole_split_is_made_as_it_is_asked_for(digits: ImageDataset, odd: CondensedSet) -> None:
    images, labels = training_images("whole_data", 0, odd, digits, 0, rows=None, device="cpu")
    assert len(images) == len(labels) == digits.info.sizes["train"]
    torch.testing.assert_close(images[torch.tensor([9, 2])], by_hand(digits, "train", np.array([9, 2])))


def test_a_split_is_tested_once_in_order(digits: ImageDataset, odd: CondensedSet) -> None:
    images, labels = zip(*split_batches(digits, "train", "cpu", odd), strict=True)
    count = digits.info.sizes["train"]
    assert [len(batch) for batch in images] == [TEST_BATCH] * (count // TEST_BATCH) + [count % TEST_BATCH]
    torch.testing.assert_close(torch.cat(images), by_hand(digits, "train", np.arange(count)))
    assert torch.cat(labels).tolist() == digits.labels("train").tolist()
