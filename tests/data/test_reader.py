from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.pretend_device import pretend_device
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.reader import RESIDENT_PART, Reader
from hmdc_ray.data.schema import Split

ROWS = np.array([5, 0, 11, 5])


def test_on_the_cpu_images_are_those_of_the_data(three_digits: ImageDataset) -> None:
    reader = Reader(three_digits, torch.device("cpu"), torch.float64)
    assert torch.equal(reader(ROWS), three_digits.normalised("train", ROWS, torch.float64))
    assert reader.pixels_NCHW is None


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_device_has_the_same_images_with_or_without_memory_for_all(
    split: Split, resident: bool, three_digits: ImageDataset
) -> None:
    needed = three_digits.info.sizes["train"] * three_digits.info.shape.values
    with pretend_device(free=int(needed / RESIDENT_PART) + (1 if resident else -1) * 8) as (device, waits):
        reader = Reader(three_digits, device)
        assert (reader.pixels_NCHW is not None) == resident
        waits.counts.clear()
        found = reader(ROWS, split)
        assert waits.total("copies to the device") == 1 and not waits.total("synchronisations")
        assert found.device == device and torch.equal(found.cpu(), three_digits.normalised(split, ROWS))


def test_rows_that_are_on_the_device_already_cost_no_copy(three_digits: ImageDataset) -> None:
    with pretend_device() as (device, waits):
        reader, rows_B = Reader(three_digits, device), torch.from_numpy(ROWS).to(device)
        waits.counts.clear()
        found = reader(ROWS, rows_B=rows_B)
        assert not waits.counts
        assert torch.equal(found.cpu(), three_digits.normalised("train", ROWS))


def test_all_pixels_are_on_the_device(three_digits: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmdc_ray.data.reader._READ", 7)  # in several parts
    every = three_digits.pixels("train", np.arange(three_digits.info.sizes["train"]))
    with pretend_device() as (device, _):
        pixels = Reader(three_digits, device).pixels_NCHW
        assert pixels is not None and torch.equal(pixels.cpu(), every)
