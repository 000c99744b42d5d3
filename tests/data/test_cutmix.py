from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from hmdc_ray.data.cutmix import Mixed, cutmix
from hmdc_ray.seeding import Key

BATCH, HEIGHT, WIDTH = 6, 8, 10
LABELS = torch.arange(BATCH)
IMAGES = LABELS.float()[:, None, None, None].expand(BATCH, 2, HEIGHT, WIDTH).clone()
DRAWS = 200


def draws() -> list[Mixed]:
    return [cutmix(IMAGES, LABELS, Key(0, "train_network", batch=batch)) for batch in range(DRAWS)]


def test_every_pixel_belongs_to_one_of_both_labels_and_the_areas_are_as_said() -> None:
    for mixed in draws():
        own = mixed.images == mixed.labels[:, None, None, None]
        pasted = mixed.images == mixed.pasted_labels[:, None, None, None]
        assert (own | pasted).all()
        different = mixed.labels != mixed.pasted_labels
        assert torch.allclose(own[different].float().mean((1, 2, 3)), torch.tensor(mixed.own_part, dtype=torch.float32))
        assert torch.equal(mixed.labels, LABELS)
        assert sorted(mixed.pasted_labels.tolist()) == LABELS.tolist()


def test_about_half_of_the_batches_are_left_as_they_are_and_areas_vary() -> None:
    parts = [mixed.own_part for mixed in draws()]
    assert 0.35 * DRAWS < sum(part == 1 for part in parts) < 0.65 * DRAWS
    assert min(parts) < 0.3
    assert len(set(parts)) > 20


def test_the_batch_given_is_not_changed_and_the_same_key_draws_the_same() -> None:
    before, state = IMAGES.clone(), torch.get_rng_state()
    key = next(Key(0, "train_network", batch=batch) for batch, mixed in enumerate(draws()) if mixed.own_part < 0.7)
    first, second = cutmix(IMAGES, LABELS, key), cutmix(IMAGES, LABELS, key)
    assert torch.equal(first.images, second.images) and torch.equal(first.pasted_labels, second.pasted_labels)
    assert not torch.equal(first.images, IMAGES)
    assert torch.equal(IMAGES, before) and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("own_part", [1.0, 0.25])
def test_loss_weighs_both_labels_by_area(own_part: float) -> None:
    logits = torch.randn(BATCH, BATCH, generator=torch.Generator().manual_seed(0))
    pasted = LABELS.flip(0)
    loss = Mixed(IMAGES, LABELS, pasted, own_part).loss(logits)
    soft = own_part * F.one_hot(LABELS, BATCH) + (1 - own_part) * F.one_hot(pasted, BATCH)
    assert torch.allclose(loss, -(soft * logits.log_softmax(1)).sum(1).mean())
