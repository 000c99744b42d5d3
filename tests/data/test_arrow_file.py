"""The decoded file keeps rows in their order, and statistics of the training split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.dataset_files import opened, random_images, structs, write
from hmdc_ray.data.arrow_file import PixelHistogram
from hmdc_ray.data.schema import SPLITS


def test_rows_keep_order_across_files_row_groups_and_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmdc_ray.data.arrow_file._BATCH_BYTES", 7 * 9)
    monkeypatch.setattr("hmdc_ray.data.parquet._DECODED_BYTES", 4 * 9)
    images = random_images(300, 3, 3)
    table = pa.table({"image": structs(images), "label": np.arange(300) % 3})
    pq.write_table(table[:170], tmp_path / "train-00000-of-00002.parquet", row_group_size=30)
    pq.write_table(table[170:], tmp_path / "train-00001-of-00002.parquet", row_group_size=101)
    pq.write_table(table[:5], tmp_path / "test.parquet")
    pq.write_table(table[:5], tmp_path / "valid.parquet")
    dataset = opened(tmp_path, tmp_path)
    rows = np.random.default_rng(1).permutation(300)
    assert np.array_equal(dataset.pixels("train", rows).numpy()[:, 0], images[rows])
    assert np.array_equal(dataset.class_rows("train", 1), np.arange(1, 300, 3))
    assert dataset.class_rows("test", 1).tolist() == [1, 4]
    assert dataset.pixels("train", []).shape == (0, 1, 3, 3)


def test_statistics_come_from_the_training_split_only(tmp_path: Path) -> None:
    dark, bright = np.zeros((4, 3, 3), np.uint8), np.full((4, 3, 3), 255, np.uint8)
    for split in SPLITS:
        write(tmp_path / f"{split}.parquet", structs(dark if split == "train" else bright), [0] * 4)
    assert opened(tmp_path, tmp_path).info.mean == (0.0,)


def test_statistics_are_exact_however_the_images_are_cut() -> None:
    pixels_NCHW = random_images(7, 2, 3, 5)
    pixels_NCHW[:, 1] = 9
    histogram = PixelHistogram(2)
    for start, end in ((0, 1), (1, 1), (1, 7)):
        histogram.add(pixels_NCHW[start:end])
    mean, std = histogram.statistics()
    assert mean == pytest.approx((pixels_NCHW / 255).mean((0, 2, 3)), abs=1e-14)
    assert std == pytest.approx(((pixels_NCHW[:, 0] / 255).std(), 1.0), abs=1e-14)  # 1 where all pixels are equal
