"""What people bring, as their public reports describe it, and what was read well from the first: it
stays so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from hmdc_ray.config import DataConfig, MemberConfig, PoolConfig
from hmdc_ray.config.presets import preset
from hmdc_ray.data.dataset import ImageDataset, open_dataset
from hmdc_ray.data.sources import prepare
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import import_set
from hmdc_ray.models import Architecture, ImageShape
from hmdc_ray.run.validate import validate

STATISTICS = ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
IMAGES_NCHW = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS_N = torch.tensor([0, 0, 1, 1])


def opened(tmp_path: Path, source: Path, **fields: Any) -> ImageDataset:
    return open_dataset(DataConfig(source=str(source), cache=str(tmp_path / "cache"), validation_fraction=0, **fields))


# Files of tensors


def test_files_saved_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("torch.serialization.location_tag", lambda _: "cuda:3")
        torch.save([IMAGES_NCHW, LABELS_N], tmp_path / "gpu.pt")
    assert b"cuda:3" in (tmp_path / "gpu.pt").read_bytes()
    condensed = import_set(tmp_path / "gpu.pt", "tensors", ImportOptions(statistics=STATISTICS)).condensed
    assert torch.equal(condensed.images, IMAGES_NCHW) and condensed.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_in_another_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save({"images": IMAGES_NCHW.to(dtype), "labels": LABELS_N.int()}, tmp_path / "half.pt")
    condensed = import_set(tmp_path / "half.pt", "tensors", ImportOptions(statistics=STATISTICS)).condensed
    assert torch.equal(condensed.images, IMAGES_NCHW.to(dtype).float())


# Images


def test_cmyk_palette_and_turned_images(tmp_path: Path) -> None:
    """Every image shows the same picture, red above and blue below, and comes to the same
    pixels."""
    picture = Image.new("RGB", (8, 12), (255, 0, 0))
    picture.paste((0, 0, 255), (0, 6, 8, 12))
    folder = tmp_path / "in" / "flag"
    folder.mkdir(parents=True)
    picture.save(folder / "0 plain.png")
    picture.convert("CMYK").save(folder / "1 cmyk.tif")
    picture.quantize(4).save(folder / "2 palette.png")
    picture.quantize(4).save(folder / "3 palette.gif")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees to the right
    picture.transpose(Image.Transpose.ROTATE_90).save(folder / "4 turned.png", exif=exif)
    prepare(str(tmp_path / "in"), tmp_path / "out")
    dataset = opened(tmp_path, tmp_path / "out")
    found = np.concatenate([dataset.pixels(split, range(dataset.info.sizes[split])).numpy() for split in ("train", "test")])
    assert found.shape == (5, 3, 12, 8)
    assert (found == np.asarray(picture).transpose(2, 0, 1)).all()


# Data sets


def test_hash_named_shards_and_two_hundred_classes(tmp_path: Path) -> None:
    names = [f"n{number:08d}" for number in range(200)]
    for number, name in enumerate(names):
        (tmp_path / "in" / name).mkdir(parents=True)
        for copy in range(2):
            Image.new("RGB", (4, 4), (number, copy, 0)).save(tmp_path / "in" / name / f"{copy}.png")
    prepare(str(tmp_path / "in"), tmp_path / "out")
    whole = pq.read_table(tmp_path / "out" / "train-00000-of-00001.parquet")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for shard, name in enumerate(("0c1f5b1d9c5f0b1e", "a3d45f7be3f0a1c2")):
        part = whole.slice(shard * 200, 200)
        pq.write_table(part, tmp_path / "hub" / "data" / f"train-{shard:05d}-of-00002-{name}.parquet")
    info = opened(tmp_path, tmp_path / "hub").info
    assert info.class_names == tuple(names) and info.sizes == {"train": 200, "validation": 0, "test": 200}


# Networks


class Rows(nn.Module):
    """An LSTM over the rows of an image."""

    def __init__(self, shape: ImageShape, classes: int) -> None:
        super().__init__()
        self.rows = nn.LSTM(shape.channels * shape.width, 8, batch_first=True)
        self.head = nn.Linear(8, classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        states, _ = self.rows(images_BCHW.transpose(1, 2).flatten(2))
        logits: Tensor = self.head(states[:, -1])
        return logits


def lstm(shape: ImageShape, classes: int) -> nn.Module:
    return Rows(shape, classes)


def data_parallel(shape: ImageShape, classes: int) -> Architecture:
    module = nn.Sequential(nn.Flatten(), nn.Linear(shape.channels * shape.height * shape.width, classes))
    return Architecture(nn.DataParallel(module), classifier="module.1")


@pytest.mark.parametrize("factory", ["lstm", "data_parallel"])
def test_networks_of_ones_own_can_be_matched_and_trained(tmp_path: Path, factory: str) -> None:
    config = preset("digits")
    members = (MemberConfig(architecture=f"{__name__}:{factory}"),)
    matching = config.matching.model_copy(update={"mutual_distillation": False})
    config = config.model_copy(update={"pool": PoolConfig(members=members), "matching": matching})
    info = open_dataset(DataConfig(cache=str(tmp_path))).info
    (network,) = validate(config, info)
    assert network.architecture.endswith(factory)
