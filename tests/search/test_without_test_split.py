from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.search.without_test_split import WithoutTest


def test_the_test_split_cannot_be_read(three_digits: ImageDataset) -> None:
    view = WithoutTest(three_digits)
    reads: list[Callable[[], object]] = [
        lambda: view.labels("test"),
        lambda: view.class_rows("test", 0),
        lambda: view.pixels("test", [0]),
        lambda: view.normalised("test", [0]),
    ]
    for read in reads:
        with pytest.raises(PermissionError, match="the test split cannot be read in a trial"):
            read()
    assert view.info == three_digits.info
    for split in ("train", "validation"):
        assert (view.labels(split) == three_digits.labels(split)).all()
        assert (view.class_rows(split, 1) == three_digits.class_rows(split, 1)).all()
        assert torch.equal(view.pixels(split, [0]), three_digits.pixels(split, [0]))
        assert torch.equal(view.normalised(split, [0]), three_digits.normalised(split, [0]))
