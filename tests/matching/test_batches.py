from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from parity.runs import one_member, step_plan
from torch import Tensor

from hmdc_ray.config import DataConfig, ImagesConfig, MatchingConfig, ScheduleConfig
from hmdc_ray.data.augment import Augmentation
from hmdc_ray.data.dataset import ImageDataset, Rows, open_dataset
from hmdc_ray.data.packing import decode, pack
from hmdc_ray.data.reader import Reader
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.matching.batches import BATCHNORM_IMAGES, Batches
from hmdc_ray.models.precision import storage_dtype
from hmdc_ray.seeding import Key

PLAN = step_plan()


def batches(dataset: ImageDataset, *, seed: int = 0, formation: int = 1, **matching: Any) -> Batches:
    config = MatchingConfig(**{"real_batch": 5, **matching})
    reader = Reader(dataset, torch.device("cpu"), storage_dtype(config.precision))
    return Batches(seed, reader, config, formation)


def real(made: Batches, plan: StepPlan, label: int, selection: tuple[Rows, ...] | None = None) -> Tensor:
    return made.real(made.pair(plan, label, selection, stored=1))


def synthetic(made: Batches, plan: StepPlan, images: Tensor) -> Tensor:
    return made.synthetic(made.pair(plan, 0, None, len(images)), images)


def rows_of(images: Tensor, dataset: ImageDataset) -> list[int]:
    """The row of the training split of each image; digits in the data are all different."""
    every = dataset.normalised("train", np.arange(dataset.info.sizes["train"]), images.dtype)
    found = (images[:, None] == every[None]).flatten(2).all(2)
    assert (found.sum(1) == 1).all()
    return [int(row) for row in found.int().argmax(1)]


# Real batches


@pytest.mark.parametrize("label", [0, 2])
def test_random_real_images_are_distinct_and_of_the_class(label: int, three_digits: ImageDataset) -> None:
    rows = rows_of(real(batches(three_digits), PLAN, label), three_digits)
    assert len(set(rows)) == 5
    assert (three_digits.labels("train")[rows] == label).all()


def test_real_images_follow_step_iteration_class_and_seed_only(three_digits: ImageDataset) -> None:
    def rows(plan: Any = PLAN, seed: int = 0) -> list[int]:
        return rows_of(real(batches(three_digits, seed=seed), plan, 0), three_digits)

    assert rows() == rows()
    assert len({tuple(found) for found in (rows(), rows(step_plan(1)), rows(step_plan(iteration=1)), rows(seed=1))}) == 4


def test_a_class_with_fewer_images_than_a_batch_gives_them_all(three_digits: ImageDataset) -> None:
    rows = rows_of(real(batches(three_digits, real_batch=1000), PLAN, 2), three_digits)
    assert sorted(rows) == three_digits.class_rows("train", 2).tolist()


def test_selected_real_images_are_used_as_they_are(three_digits: ImageDataset) -> None:
    selection = tuple(three_digits.class_rows("train", label)[[3, 1]] for label in range(3))
    assert rows_of(real(batches(three_digits), PLAN, 1, selection), three_digits) == selection[1].tolist()


def test_statistics_are_taken_from_a_few_images_of_every_class(three_digits: ImageDataset) -> None:
    rows = rows_of(batches(three_digits).statistics_images(PLAN), three_digits)
    counts = np.bincount(three_digits.labels("train")[rows], minlength=3)
    assert counts.tolist() == [min(BATCHNORM_IMAGES, len(three_digits.class_rows("train", label))) for label in range(3)]
    assert len(set(rows)) == len(rows)


def test_training_images_are_distinct_and_at_most_all_with_their_own_labels(three_digits: ImageDataset) -> None:
    reader, size = batches(three_digits), three_digits.info.sizes["train"]
    schedule = ScheduleConfig(training="real", real_images=2000, batch=size - 10)
    first, rest = reader.real_training(PLAN, schedule)
    rows = rows_of(reader.real(first), three_digits)
    assert sorted(rows + rows_of(reader.real(rest), three_digits)) == list(range(size))
    assert torch.equal(first.labels_B, torch.from_numpy(three_digits.labels("train")[rows]))
    few = schedule.model_copy(update={"real_images": 30})
    draws = [reader.real_training(plan, few)[0] for plan in (PLAN, step_plan(1))]
    drawn = [rows_of(reader.real(draw), three_digits) for draw in draws]
    assert [len(set(some)) for some in drawn] == [30, 30] and drawn[0] != drawn[1]


def test_a_probe_without_validation_images_is_tried_on_other_training_images(three_digits_config: DataConfig) -> None:
    dataset = open_dataset(three_digits_config.model_copy(update={"validation_fraction": 0.0}))
    assert dataset.info.sizes["validation"] == 0
    (fitted, rows), (tried, others) = batches(dataset).probe_rows(1000)
    assert (fitted, tried) == ("train", "train")
    assert len(rows) > 20 < len(others) and not set(rows.tolist()) & set(others.tolist())


# Synthetic batches


def test_decoded_images_are_sampled_down_to_a_batch_without_repetition(three_digits: ImageDataset) -> None:
    images = torch.arange(3 * 64.0).view(3, 1, 8, 8).requires_grad_()
    reader, decoded = batches(three_digits, formation=2), decode(images, 2)
    sampled = synthetic(reader, PLAN, images)
    positions = [int((decoded == image).flatten(1).all(1).int().argmax()) for image in sampled]
    assert len(set(positions)) == 5
    assert torch.equal(decoded[positions], sampled) and sampled.requires_grad
    assert torch.equal(sampled, synthetic(reader, PLAN, images))
    assert not torch.equal(sampled, synthetic(reader, step_plan(1), images))
    assert torch.equal(synthetic(batches(three_digits, formation=2, real_batch=12), PLAN, images), decoded)


def test_augmentation_is_one_draw_for_a_class_and_step(three_digits: ImageDataset) -> None:
    reader = batches(three_digits, augmentation="idc")

    def augmentation(plan: StepPlan, label: int) -> Augmentation:
        return reader.pair(plan, label, None, stored=1).augmentation

    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = augmentation(PLAN, 1)(images)
    assert torch.equal(augmentation(PLAN, 1)(images[:2]), whole[:2])
    for other in (augmentation(PLAN, 2), augmentation(step_plan(1), 1)):
        assert not torch.equal(other(images), whole)


# Initial images


def initial(dataset: ImageDataset, seed: int = 0, **images: Any) -> Tensor:
    network = one_member(dataset, "shallow").network.eval()
    config = ImagesConfig(**images)
    return batches(dataset, seed=seed, formation=config.formation).initial_images(config, network)


def test_noise(three_digits: ImageDataset) -> None:
    images = initial(three_digits, ipc=50, initialise="noise", formation=2)
    assert images.shape == (3, 50, 1, 8, 8)
    assert abs(images.mean()) < 0.05 and abs(images.std() - 1) < 0.05
    assert torch.equal(images, initial(three_digits, ipc=50, initialise="noise", formation=2))
    assert not torch.equal(images, initial(three_digits, seed=1, ipc=50, initialise="noise", formation=2))


@pytest.mark.parametrize("kind", ["real", "kmeans"])
def test_real_images_of_each_class(kind: str, three_digits: ImageDataset) -> None:
    images = initial(three_digits, ipc=4, initialise=kind)
    for label in range(3):
        rows = rows_of(images[label], three_digits)
        assert len(set(rows)) == 4
        assert (three_digits.labels("train")[rows] == label).all()
    assert torch.equal(images, initial(three_digits, ipc=4, initialise=kind))
    assert not torch.equal(images, initial(three_digits, seed=1, ipc=4, initialise=kind))


@pytest.mark.parametrize("kind", ["real", "kmeans"])
def test_several_real_images_are_packed_into_each(kind: str, three_digits: ImageDataset) -> None:
    packed = initial(three_digits, ipc=2, initialise=kind, formation=2)
    apart = initial(three_digits, ipc=8, initialise=kind)
    assert packed.shape == (3, 2, 1, 8, 8)
    for label in range(3):
        assert torch.equal(packed[label], pack(apart[label], 2))


def test_double_precision_images_are_the_same_images(three_digits: ImageDataset) -> None:
    network = one_member(three_digits, "shallow").network
    config = ImagesConfig(ipc=2)
    double = batches(three_digits, precision="float64").initial_images(config, network)
    assert double.dtype == torch.float64
    single = batches(three_digits).initial_images(config, network)
    assert rows_of(double.flatten(0, 1), three_digits) == rows_of(single.flatten(0, 1), three_digits)  # each in its format


def test_a_network_that_diverged_still_chooses_images(three_digits: ImageDataset) -> None:
    member = one_member(three_digits, "shallow")
    with torch.no_grad():
        member.parameters[0].fill_(torch.nan)
    (rows,) = batches(three_digits).choose(member.network.eval(), [Key(0, "kmeans", label=1)], 4)
    assert len(set(rows.tolist())) == 4 and (three_digits.labels("train")[rows] == 1).all()


def test_batches_and_draws_of_a_float64_run_are_in_float64(three_digits: ImageDataset) -> None:
    made, info = batches(three_digits, precision="float64", augmentation="idc"), three_digits.info
    pixels = three_digits.pixels("train", [3, 50, 7]).numpy() / 255
    by_hand = (pixels - np.array(info.mean)[:, None, None]) / np.array(info.std)[:, None, None]
    np.testing.assert_allclose(made.reader(np.array([3, 50, 7])).numpy(), by_hand, rtol=1e-14, atol=1e-14)
    drawn = made.pair(PLAN, 0, None, stored=1).augmentation
    assert {drawn.warp_n23.dtype, drawn.brightness_n.dtype, drawn.contrast_n.dtype} == {torch.float64}


def test_a_class_with_too_few_images_is_named(three_digits: ImageDataset) -> None:
    with pytest.raises(
        InputError, match=r"class '2' has \d+ training images, .* needs 20 .*: use fewer, or initialise 'noise'"
    ):
        initial(three_digits, ipc=5, formation=2)
    assert initial(three_digits, ipc=5, formation=2, initialise="noise").shape == (3, 5, 1, 8, 8)


def test_a_formation_that_does_not_divide_the_image_is_refused(three_digits: ImageDataset) -> None:
    with pytest.raises(InputError, match=r"images\.formation is 3"):
        initial(three_digits, formation=3, initialise="noise")
