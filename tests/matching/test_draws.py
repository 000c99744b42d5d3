from __future__ import annotations

import numpy as np
import torch

from benchmarks.pretend_device import pretend_device
from hmdc_ray.config import Family
from hmdc_ray.data.augment import draw
from hmdc_ray.matching.draws import Draw, drawn, placed


def some_draws() -> list[Draw]:
    families: tuple[Family, ...] = ("flip", "brightness", "crop", "rotate", "cutout")
    generator, made = torch.Generator().manual_seed(0), []
    for size in (3, 5):
        augmentation = draw("idc", families, 8, 8, generator, size)
        made.append(drawn(np.arange(size), augmentation, labels=np.arange(size) % 2, decoded=np.arange(size)[::-1].copy()))
    return made


def test_draws_and_what_goes_with_them_are_one_copy() -> None:
    draws, beside = some_draws(), [torch.ones(2, 3), torch.zeros(4)]
    with pretend_device() as (device, waits):
        there, others = placed(draws, device, beside)
        assert waits.total("copies to the device") == 1
        for found, one in zip(there, draws, strict=True):
            assert found.rows is one.rows
            assert found.augmentation.copy is not None
            for ours, theirs in zip(one.values, (*found.values[:3], *found.augmentation.copy.values), strict=True):
                assert theirs.device == device and torch.equal(theirs.cpu(), ours)
        assert [torch.equal(other.cpu(), one) for other, one in zip(others, beside, strict=True)] == [True, True]


def test_a_placed_augmentation_varies_images_as_the_draw_does_without_another_copy() -> None:
    (one, _), images = some_draws(), torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = one.augmentation(images)
    with pretend_device() as (device, waits):
        (there,), (images,) = placed([one], device, [images])
        varied = there.augmentation(images)
        assert waits.total("copies to the device") == 1 and not waits.total("synchronisations")
        assert torch.equal(varied.cpu(), expected)


def test_on_the_cpu_nothing_moves() -> None:
    draws, beside = some_draws(), [torch.ones(2)]
    there, others = placed(draws, torch.device("cpu"), beside)
    assert all(found is one for found, one in zip(there, draws, strict=True)) and others[0] is beside[0]
