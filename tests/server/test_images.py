from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hmdc_ray.config import ImagesConfig
from hmdc_ray.server.images import SyntheticImages

MEAN, STD = (0.5, 0.1), (0.25, 0.3)
SHAPE = (3, 2, 2, 4, 4)


def noise(seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def made(images: Tensor | None = None, **fields: Any) -> SyntheticImages:
    config = ImagesConfig(**{"learning_rate": 0.1, "momentum": 0.5, **fields})
    return SyntheticImages(noise(0) if images is None else images, MEAN, STD, config)


def test_plain_steps_are_those_of_torchs_sgd() -> None:
    images = made()
    reference = noise(0).requires_grad_()
    optimiser = torch.optim.SGD([reference], lr=0.1, momentum=0.5)
    for step in range(5):
        images.apply(noise(step + 1))
        reference.grad = noise(step + 1)
        optimiser.step()
        assert torch.allclose(images.images_KICHW, reference, atol=1e-6)
        assert images.version == step + 1


def test_max_scales_each_image_and_channel_by_its_largest_entry() -> None:
    images, direction = made(normalise="max", momentum=0.0), noise(1)
    direction[0, 1, 0] *= 1e-12  # no absolute epsilon: as small as it is, it is scaled up
    direction[2, 0, 1] = 0
    images.apply(direction.clone())
    moved = (noise(0) - images.images_KICHW) / 0.1
    largest = moved.abs().amax((-2, -1))
    expected = torch.ones(SHAPE[:3])
    expected[2, 0, 1] = 0
    assert torch.allclose(largest, expected, atol=1e-5)
    assert torch.equal(images.images_KICHW[2, 0, 1], noise(0)[2, 0, 1])
    cosine = torch.nn.functional.cosine_similarity(moved.flatten(3), direction.flatten(3), dim=3, eps=1e-30)
    assert torch.allclose(cosine, expected, atol=1e-5)


def test_clipping_bounds_pixels_and_leaves_those_in_range_untouched() -> None:
    start = noise(0, scale=2.0)
    clipped, free = made(start, clip=True), made(start)
    for step in range(4):
        before = free.images_KICHW.clone()
        clipped.images_KICHW.copy_(before)
        clipped.momentum_KICHW.copy_(free.momentum_KICHW)
        clipped.apply(noise(step + 1))
        free.apply(noise(step + 1))
        low, high = clipped.lowest_C11, clipped.highest_C11
        inside = (free.images_KICHW >= low) & (free.images_KICHW <= high)
        assert inside.any() and not inside.all()
        assert torch.equal(clipped.images_KICHW[inside], free.images_KICHW[inside])
        pixels = clipped.images_KICHW * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
        assert pixels.min() >= -1e-6 and pixels.max() <= 1 + 1e-6
        assert torch.equal(clipped.images_KICHW, torch.clamp(free.images_KICHW, low, high))


def test_a_direction_that_is_not_finite_holds_its_class_back_with_its_momentum() -> None:
    for normalise in ("none", "max"):
        images = made(normalise=normalise)
        images.apply(noise(1))
        before, momentum = images.images_KICHW, images.momentum_KICHW
        direction = noise(2)
        direction[1, 0, 1, 2, 2] = torch.nan
        assert images.apply(direction) == (1,)
        assert torch.equal(images.images_KICHW[1], before[1]) and torch.equal(images.momentum_KICHW[1], momentum[1])
        for label in (0, 2):
            assert not torch.equal(images.images_KICHW[label], before[label])
        assert images.images_KICHW.isfinite().all() and images.momentum_KICHW.isfinite().all()


def test_without_clipping_pixels_may_leave_the_range() -> None:
    images = made()
    images.apply(noise(1, scale=1000.0))
    assert images.images_KICHW.abs().max() > 100


def test_the_images_given_are_not_changed() -> None:
    start = noise(0)
    made(start).apply(noise(1))
    assert torch.equal(start, noise(0))


def test_float64_images_are_clipped_at_float64_bounds() -> None:
    images = made(noise(0, scale=3.0).double(), clip=True, momentum=0.0)
    images.apply(noise(1).double())
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        values = images.images_KICHW[:, :, channel]
        assert values.min().item() == (0 - mean) / std and values.max().item() == (1 - mean) / std
    single = made(noise(0, scale=3.0), clip=True, momentum=0.0)
    low = torch.tensor([(0 - mean) / std for mean, std in zip(MEAN, STD, strict=True)])
    torch.testing.assert_close(single.lowest_C11.flatten(), low, rtol=1e-6, atol=0)
