"""Statistics of known data sets: those that data are recorded to be, and those that they look
like."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from data.dataset_files import opened, random_images, structs, write
from hmdc_ray.cli.dry_run import show_plan
from hmdc_ray.cli.terminal import TerminalProgress
from hmdc_ray.config import RunConfig
from hmdc_ray.config.statistics import KNOWN
from hmdc_ray.data.encoded import PREPARED_KEY, EncodedImages, EncodedSplit, encode_png
from hmdc_ray.data.known import with_statistics
from hmdc_ray.data.schema import DatasetInfo, Origin
from hmdc_ray.data.sources import prepare
from hmdc_ray.errors import InputError
from hmdc_ray.models.shape import ImageShape
from hmdc_ray.run.progress import load_dataset_info
from hmdc_ray.system.signals import StopRequest


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ``hmdc prepare torchvision:MNIST`` writes, of a few images: the download alone is left
    out."""

    def read(name: str, root: Path) -> EncodedImages:
        from PIL import Image

        assert name == "MNIST"
        images = random_images(12, 28, 28)
        encoded = [(str(row), encode_png(Image.fromarray(image))) for row, image in enumerate(images)]
        labels = np.arange(12) % 2
        return EncodedImages(("0", "1"), {split: EncodedSplit(labels, list(encoded)) for split in ("train", "test")})

    monkeypatch.setattr("hmdc_ray.data.sources.read_torchvision", read)
    prepare("torchvision:MNIST", tmp_path / "mnist")
    return tmp_path / "mnist"


def test_prepared_data_carry_their_name_and_its_constants(tmp_path: Path, prepared: Path) -> None:
    info = opened(tmp_path, prepared).info
    assert (info.source_name, info.statistics, (info.mean, info.std)) == ("mnist", "mnist", KNOWN["mnist"])
    assert info.statistics_note is not None and "constants of mnist" in info.statistics_note
    assert DatasetInfo.from_json(info.to_json()) == info
    own = opened(tmp_path, prepared, statistics="own").info
    assert own.source_name == "mnist" and own.statistics is own.statistics_note is None and own.mean != info.mean
    other = opened(tmp_path, prepared, statistics="fashionmnist").info
    assert other.source_name == "mnist" and (other.mean, other.std) == KNOWN["fashionmnist"]
    assert other.statistics_note is None
    numbers = opened(tmp_path, prepared, statistics="0.25:0.5").info
    assert (numbers.mean, numbers.std, numbers.statistics) == ((0.25,), (0.5,), "0.25:0.5")


def test_constants_of_other_channels_are_not_used_and_that_is_said(tmp_path: Path, prepared: Path) -> None:
    info = opened(tmp_path, prepared, channels=3).info
    assert info.source_name == "mnist" and info.statistics is None and len(info.mean) == 3
    assert info.statistics_note is not None and "other channels" in info.statistics_note
    with pytest.raises(InputError, match=r"data.statistics is 'mnist', for images of 1 channels"):
        opened(tmp_path, prepared, channels=3, statistics="mnist")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"source": "torchvision:cifar10", "notes": []}, "cifar10"),
        ({"source": "TORCHVISION:SVHN"}, "svhn"),
        ({"source": "cifar10"}, None),  # a folder of that name
        ({"source": "torchvision:imagefolder"}, None),
        ({"source": ["torchvision:cifar10"]}, None),
        (["torchvision:cifar10"], None),
    ],
)
def test_what_is_recorded_is_a_known_name_or_nothing(tmp_path: Path, content: object, name: str | None) -> None:
    images = pa.array(random_images(4, 5, 5, 3).tolist())
    table = pa.table({"image": images, "label": [0, 1, 0, 1]})
    for split in ("train", "test"):
        text = content if split == "train" or name != "svhn" else {"source": "torchvision:cifar10"}
        pq.write_table(table.replace_schema_metadata({PREPARED_KEY: json.dumps(text)}), tmp_path / f"{split}.parquet")
    info = opened(tmp_path, tmp_path).info
    assert info.source_name == (None if name == "svhn" else name)  # whose files do not agree


def looks(
    classes: int, shape: tuple[int, int, int], train: int, mean: float, *, validation: int = 0, cut: tuple[str, ...] = ()
) -> DatasetInfo:
    return DatasetInfo(
        class_names=tuple(map(str, range(classes))),
        shape=ImageShape(*shape),
        mean=(mean,) * shape[0],
        std=(0.25,) * shape[0],
        fingerprint="f",
        source="data",
        sizes={"train": train, "validation": validation, "test": 10_000},
        class_sizes=(train // classes,) * classes,
        origin=Origin(cut=cut),  # type: ignore[arg-type]
    )


CIFAR10 = looks(10, (3, 32, 32), 45_000, 0.47, validation=5_000, cut=("validation",))


def test_data_that_look_like_a_known_set_get_one_line_of_advice() -> None:
    assert with_statistics(CIFAR10, None).statistics_note == (
        "the data look like CIFAR-10 (10 classes, 32x32x3, 50,000 training images), but their own mean and std are used; "
        "data.statistics=cifar10 uses the papers' constants"
    )
    assert with_statistics(CIFAR10, None).mean == CIFAR10.mean and with_statistics(CIFAR10, None).source_name is None
    for stated in ("own", "cifar10", "imagenet", "0.5,0.5,0.5:1,1,1"):
        assert with_statistics(CIFAR10, stated).statistics_note is None


@pytest.mark.parametrize(
    ("info", "names"),
    [
        (looks(100, (3, 32, 32), 50_000, 0.48), ["CIFAR-100"]),
        (looks(10, (3, 32, 32), 73_257, 0.44), ["SVHN"]),
        (looks(10, (1, 28, 28), 60_000, 0.131), ["MNIST"]),
        (looks(10, (1, 28, 28), 55_000, 0.286, validation=5_000), ["FashionMNIST"]),  # with a file for validation
        (looks(10, (1, 28, 28), 60_000, 0.19), ["MNIST", "FashionMNIST"]),  # of its mean is neither
        (looks(10, (3, 32, 32), 50_000, 0.47, validation=9_000), ["CIFAR-10"]),
        (looks(9, (3, 32, 32), 50_000, 0.47), []),
        (looks(10, (3, 28, 28), 60_000, 0.131), []),
        (looks(10, (1, 28, 28), 59_999, 0.131), []),
        (looks(10, (3, 32, 32), 45_000, 0.47, validation=4_000), []),
    ],
)
def test_advice_is_for_data_of_the_same_classes_size_and_number_only(info: DatasetInfo, names: list[str]) -> None:
    note = with_statistics(info, None).statistics_note
    assert note is None if not names else note is not None and note.startswith(f"the data look like {' or '.join(names)} (")


def test_the_run_and_the_dry_run_say_it(tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig.model_validate({"data": {"source": str(prepared), "cache": str(tmp_path / "cache")}})
    line = "normalised by the papers' constants of mnist, which 'hmdc prepare' recorded as the source; data.statistics=own"

    def told(normalises: bool) -> str:
        text = io.StringIO()
        with TerminalProgress(Console(file=text, width=300)) as progress:
            load_dataset_info(config, progress, StopRequest(), normalises=normalises)
        return text.getvalue()

    assert told(True).count(line) == 1 and line not in told(False)  # an evaluation goes by the sets' statistics
    text = io.StringIO()
    show_plan(config, tmp_path / "out", Console(file=text, width=300))
    assert text.getvalue().count(line) == 1
    plain = replace(CIFAR10, statistics_note=with_statistics(CIFAR10, None).statistics_note)
    text = io.StringIO()
    with TerminalProgress(Console(file=text, width=300)) as progress:
        progress.data(plain)
    assert "note        the data look like CIFAR-10 (10 classes" in text.getvalue()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("imagenet", KNOWN["imagenet"]),
        ("0.5,0.4,0.3:0.2,0.25,1", ((0.5, 0.4, 0.3), (0.2, 0.25, 1.0))),
        ({"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 1]}, ((0.5, 0.4, 0.3), (0.2, 0.25, 1.0))),
    ],
)
def test_statistics_by_name_or_numbers(tmp_path: Path, value: Any, expected: Any) -> None:
    path = write(tmp_path / "data.parquet", structs(random_images(4, 3, 3, 3)), [0, 1, 0, 1])
    dataset = opened(tmp_path, path, statistics=value)
    assert (dataset.info.mean, dataset.info.std) == expected
    pixels = dataset.pixels("train", [0]).double().numpy() / 255
    by_hand = (pixels - np.array(expected[0])[:, None, None]) / np.array(expected[1])[:, None, None]
    assert np.abs(dataset.normalised("train", [0]).numpy() - by_hand).max() < 1e-5
