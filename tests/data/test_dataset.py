from __future__ import annotations

import multiprocessing
import shutil
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from data.dataset_files import opened, random_images, structs, write, write_folder
from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.schema import SPLITS
from hmdc_ray.errors import InputError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def test_normalised_and_statistics(tmp_path: Path) -> None:
    images = random_images(8, 4, 4, 3)
    images[..., 2] = 51  # a channel without spread
    dataset = opened(tmp_path, write_folder(tmp_path / "data", structs(images), [0, 1] * 4))
    scaled = images / 255
    assert dataset.info.mean == pytest.approx(scaled.mean((0, 1, 2)), abs=1e-12)
    assert dataset.info.std == pytest.approx((*scaled.std((0, 1, 2))[:2], 1.0), abs=1e-12)
    normal = dataset.normalised("train", range(8))
    assert normal.dtype == torch.float32
    expected = (scaled - dataset.info.mean) / dataset.info.std
    assert np.allclose(normal.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)
    exact = dataset.normalised("train", range(8), torch.float64).numpy()
    np.testing.assert_allclose(exact, expected.transpose(0, 3, 1, 2), rtol=1e-14, atol=1e-14)
    by_three = opened(tmp_path, tmp_path / "data", statistics="0.3,0.1,0.7:0.1,0.3,0.9")
    expected = (scaled - (0.3, 0.1, 0.7)) / (0.1, 0.3, 0.9)
    exact = by_three.normalised("train", range(8), torch.float64).numpy()
    np.testing.assert_allclose(exact, expected.transpose(0, 3, 1, 2), rtol=1e-14, atol=1e-14)


def test_known_statistics_share_the_decoded_file(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "data", structs(random_images(4, 3, 3)), [0, 0, 0, 0])
    plain, known = opened(tmp_path, source), opened(tmp_path, source, statistics="mnist")
    assert (known.info.mean, known.info.std) == ((0.1307,), (0.3081,))
    assert known.info.fingerprint == plain.info.fingerprint
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 1
    with pytest.raises(InputError, match=r"data.statistics is 'cifar10', for images of 3 channels"):
        opened(tmp_path, source, statistics="cifar10")


def test_fingerprint_depends_on_data_alone(tmp_path: Path) -> None:
    images = random_images(6, 3, 3)
    source = write_folder(tmp_path / "data", structs(images), [0, 1, 0, 1, 0, 1])
    first = opened(tmp_path, source).info
    copied = opened(tmp_path, shutil.copytree(source, tmp_path / "copy")).info
    assert copied.fingerprint == first.fingerprint
    assert copied.source == str(tmp_path / "copy")
    raw = pa.array(images.tolist())
    assert opened(tmp_path, write_folder(tmp_path / "raw", raw, [0, 1] * 3)).info.fingerprint == first.fingerprint

    images[0, 0, 0] ^= 1
    changed = [
        opened(tmp_path, write_folder(tmp_path / "pixel", structs(images), [0, 1] * 3)),
        opened(tmp_path, write_folder(tmp_path / "label", raw, [0, 1, 0, 1, 1, 0])),
        opened(tmp_path, write_folder(tmp_path / "names", raw, [0, 1] * 3, names=["a", "b"])),
        opened(tmp_path, write(tmp_path / "split.parquet", raw, [0, 1] * 3)),
    ]
    assert len({first.fingerprint, *(dataset.info.fingerprint for dataset in changed)}) == 5


def test_what_is_handed_out_cannot_change_the_dataset(tmp_path: Path) -> None:
    dataset = opened(tmp_path, write_folder(tmp_path / "data", structs(random_images(4, 3, 3)), [0, 0, 0, 0]))
    before = dataset.pixels("train", [0]).clone()
    dataset.pixels("train", [0]).zero_()
    assert torch.equal(dataset.pixels("train", [0]), before)
    for array in (dataset.labels("train"), dataset.class_rows("train", 0)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def _open_at_once(source: str, cache: str, barrier: Barrier, results: Any) -> None:
    seen: list[int] = []
    barrier.wait(timeout=60)
    dataset = open_dataset(DataConfig(source=source, cache=cache), lambda done, total: seen.append(done))
    results.put((bool(seen), dataset.info.fingerprint))


def test_processes_that_open_at_once_decode_once(tmp_path: Path) -> None:
    source = write(tmp_path / "data.parquet", structs(random_images(3000, 8, 8)), np.arange(3000) % 10)
    context = multiprocessing.get_context("fork")  # others would import torch again, for seconds
    barrier, results = context.Barrier(2), context.Queue()
    arguments = (str(source), str(tmp_path / "cache"), barrier, results)
    processes = [context.Process(target=_open_at_once, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    assert sorted(decoded for decoded, _ in answers) == [False, True]
    assert len({fingerprint for _, fingerprint in answers}) == 1


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="needs ../shared/data/mnist")
def test_shared_mnist_reads_right(tmp_path: Path) -> None:
    table = pq.read_table(SHARED / "mnist" / "test-00000-of-00001.parquet")[:1000]
    for split in SPLITS:
        pq.write_table(table, tmp_path / f"{split}.parquet")
    dataset = opened(tmp_path, tmp_path, statistics="mnist")
    assert dataset.info.class_names == tuple("0123456789")
    assert dataset.labels("test").tolist() == table["label"].to_pylist()
    for row in (0, 17, 999):
        (tmp_path / "one.png").write_bytes(table["image"][row]["bytes"].as_py())
        assert np.array_equal(dataset.pixels("test", [row]).numpy()[0, 0], np.asarray(Image.open(tmp_path / "one.png")))
    assert abs(float(dataset.normalised("test", range(1000)).mean())) < 0.05
