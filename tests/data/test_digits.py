"""The built-in digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.dataset_files import opened
from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.schema import SPLITS


def test_digits(tmp_path: Path) -> None:
    info = opened(tmp_path, "digits").info
    dataset = opened(tmp_path, "digits", validation_fraction=0.5, test_fraction=0.5)
    assert dataset.info == info
    assert sum(info.sizes.values()) == 1797
    assert [round(info.sizes[split] / 1797, 2) for split in SPLITS] == [0.6, 0.1, 0.3]
    assert (info.shape.channels, info.shape.height, info.shape.width) == (1, 16, 16)
    assert info.class_names == tuple("0123456789")
    for label in range(10):
        counts = [len(dataset.class_rows(split, label)) for split in SPLITS]
        assert np.allclose(np.array(counts) / sum(counts), [0.6, 0.1, 0.3], atol=0.01)
    assert opened(tmp_path, "digits", image_size=(8, 8)).pixels("train", range(1079)).max() == 255


def test_the_built_in_digits_by_class(tmp_path: Path) -> None:
    dataset = open_dataset(DataConfig(classes=(8, 1), cache=str(tmp_path)))
    assert dataset.info.class_names == ("8", "1") and set(dataset.labels("train").tolist()) == {0, 1}
