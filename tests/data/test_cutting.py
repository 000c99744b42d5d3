"""Where batches begin and end."""

from __future__ import annotations

import pytest

from hmdc_ray.data.cutting import batch_slices


@pytest.mark.parametrize(
    ("images", "batch", "sizes"),
    [
        (257, 256, [257]),
        (513, 256, [256, 257]),
        (258, 256, [256, 2]),
        (512, 256, [256, 256]),
        (129, 128, [129]),
        (10, 256, [10]),
        (3, 2, [3]),
        (1, 256, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_a_single_image_left_over_joins_the_batch_before_it(images: int, batch: int, sizes: list[int]) -> None:
    slices = batch_slices(images, batch)
    assert [len(range(images)[places]) for places in slices] == sizes
    assert [place for places in slices for place in range(images)[places]] == list(range(images))
