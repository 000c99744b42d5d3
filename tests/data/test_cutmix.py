from __future__ import annotations

import math

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
    assert min(parts) == pytest.approx(1 - 6 * 8 / (HEIGHT * WIDTH))  # the largest box that truncated sides leave
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


@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 28), (9, 21)])
def test_sides_of_boxes_truncate_as_in_the_released_codes(height: int, width: int) -> None:
    images = torch.arange(BATCH).float()[:, None, None, None].expand(BATCH, 1, height, width).clone()
    odd = 0
    for batch in range(DRAWS):
        key = Key(5, "cutmix", batch=batch)
        applied, share, y, x = key.numpy().random(4)
        mixed = cutmix(images, LABELS, key)
        # rand_bbox of those codes, with lambda = 1 - share
        sides = [int(side * math.sqrt(share)) for side in (height, width)]
        edges = [
            (max(int(place * side) - cut // 2, 0), min(int(place * side) + cut // 2, side))
            for place, side, cut in zip((y, x), (height, width), sides, strict=True)
        ]
        area = 0 if applied >= 0.5 else math.prod(end - start for start, end in edges)
        assert mixed.own_part == pytest.approx(1 - area / (height * width))
        odd += any(round(side * math.sqrt(share)) != cut for side, cut in zip((height, width), sides, strict=True))
    assert odd > DRAWS / 4, "rounding would give the same boxes"
