"""The batches of a training: one global order, whatever the number of workers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hmdc_ray.data.cutmix import Mixed
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.evaluation.protocol import PROTOCOLS, Recipe
from hmdc_ray.pretrain.batches import GlobalBatches, Group, Part
from hmdc_ray.seeding import Key

CPU = torch.device("cpu")
KEY = Key(3, "network", member=7)
PLAIN = replace(PROTOCOLS["dc"].plain, batch=20, epochs=4)
MIXED = replace(PROTOCOLS["idc"].varied, batch=20, epochs=4)


def whole(parts: list[Part], field: str) -> torch.Tensor:
    return torch.cat([getattr(part.mixed, field) for part in parts if part.weight])


@pytest.mark.parametrize("recipe", [PLAIN, replace(PROTOCOLS["dc"].varied, batch=20), MIXED], ids=["plain", "crop", "cutmix"])
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_one_global_batch(three_digits: ImageDataset, recipe: Recipe, workers: int) -> None:
    batches = GlobalBatches(three_digits, recipe, KEY, CPU)
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    for batch in range(len(batches)):
        alone = batches.part(1, batch, Group())
        parts = [batches.part(1, batch, Group(worker, workers)) for worker in range(workers)]
        for field in ("images", "labels", "pasted_labels"):
            assert torch.equal(whole(parts, field), getattr(alone.mixed, field))
        assert sum(part.weight for part in parts) == pytest.approx(workers)
        count = len(alone.mixed.labels)
        shares = logits[:count].split([len(part.mixed.labels) if part.weight else 0 for part in parts])
        mean = sum(part.loss(share) for part, share in zip(parts, shares, strict=True) if len(share)) / workers
        assert float(mean) == pytest.approx(float(alone.loss(logits[:count])), rel=1e-6)


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own(three_digits: ImageDataset) -> None:
    batches = GlobalBatches(three_digits, PLAIN, KEY, CPU)
    epochs = [
        torch.cat([batches.part(epoch, batch, Group()).mixed.images for batch in range(len(batches))]) for epoch in (0, 1)
    ]
    assert len(epochs[0]) == three_digits.info.sizes["train"]
    assert not torch.equal(epochs[0], epochs[1])
    for images in epochs:
        assert torch.equal(images.flatten(1).sum(1).sort().values, epochs[0].flatten(1).sum(1).sort().values)
    assert torch.equal(batches.part(0, 2, Group()).mixed.images, epochs[0][40:60])  # also after another epoch


@pytest.mark.parametrize("recipe", [PLAIN, MIXED], ids=["plain", "mixed"])
@pytest.mark.parametrize(("left", "workers", "sizes"), [(2, 2, [2, 0]), (3, 3, [3, 0, 0]), (5, 3, [3, 2, 0]), (4, 2, [2, 2])])
def test_no_worker_takes_a_single_image_and_one_without_counts_nothing(
    three_digits: ImageDataset, recipe: Recipe, left: int, workers: int, sizes: list[int]
) -> None:
    recipe = replace(recipe, batch=three_digits.info.sizes["train"] - left)
    batches = GlobalBatches(three_digits, recipe, KEY, CPU)
    assert len(batches) == 2
    parts = [batches.part(0, 1, Group(worker, workers)) for worker in range(workers)]
    assert [part.weight for part in parts] == [workers * size / left for size in sizes]
    assert [len(part.mixed.images) for part in parts] == [size or 2 for size in sizes]
    assert torch.equal(whole(parts, "images"), batches.part(0, 1, Group()).mixed.images)
    assert (
        float(Part(Mixed(torch.zeros(1), torch.zeros(1, dtype=torch.int64), torch.zeros(1), 1.0), 0.0).loss(torch.ones(1, 3)))
        == 0
    )


def test_a_single_image_left_over_joins_the_batch_before_it(three_digits: ImageDataset) -> None:
    images = three_digits.info.sizes["train"]
    batches = GlobalBatches(three_digits, replace(PLAIN, batch=images - 1), KEY, CPU)
    assert [len(batches.part(0, batch, Group()).mixed.images) for batch in range(len(batches))] == [images]
