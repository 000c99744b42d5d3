"""Same pixels, bit for bit: for any number of classes in a call, and however often a run was
stopped and resumed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hmdc_ray.actors.local import LocalPool
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.exchange.call_size import call_size, with_call_size
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.run.coordinator import Coordinator
from hmdc_ray.server.checkpoint import CheckpointFolder
from parity.runs import members

ITERATIONS, STEPS = 2, 3


def configuration(data: DataConfig, **sections: Any) -> RunConfig:
    """Everything on that has a state: k-means choice off and on the period, momentum, history,
    aligners, BatchNorm, dropout."""
    settings: dict[str, Any] = {
        "seed": 11,
        "data": data,
        "pool": {"members": members("batchnorm", "shallow", "dropout", cutmix=True)},
        "matching": {
            "mutual_distillation": True,
            "real_batch": 6,
            "sampler": "kmeans",
            "sampler_period": 2,
            "augmentation": "idc",
        },
        "balance": {"mode": "ema", "period": 2},
        "images": {"initialise": "kmeans", "ipc": 2, "formation": 2, "normalise": "max", "clip": True, "learning_rate": 0.05},
        "schedule": {"iterations": ITERATIONS, "steps": STEPS, "training": "real", "real_images": 24, "batch": 10},
    }
    for name, fields in sections.items():
        settings[name] = settings[name] | fields
    return RunConfig.model_validate(settings)


def run(
    config: RunConfig, dataset: ImageDataset, folder: Path, start: int = 0, checkpoints: Path | None = None
) -> list[NDArray[Any]]:
    """Images after every step from ``start``; with ``checkpoints`` each is saved in a folder named
    by its version."""
    pool = LocalPool(config, dataset.info, folder)
    coordinator = Coordinator(config, pool, classes=3, train_images=dataset.info.sizes["train"])
    images: list[NDArray[Any]] = []

    def after_step(record: StepRecord) -> None:
        images.append(record.snapshot.images_KICHW)
        if checkpoints is not None:
            pool.server.processes[0].checkpoints = CheckpointFolder(checkpoints / str(record.snapshot.version) / "checkpoint")
            coordinator.checkpoint(record.snapshot.version)

    coordinator.run(start, after_step)
    return images


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("saved")


@pytest.fixture(scope="module")
def uninterrupted(saved: Path, three_digits: ImageDataset, three_digits_config: DataConfig) -> list[NDArray[Any]]:
    return run(configuration(three_digits_config), three_digits, saved / "0", checkpoints=saved)


def test_every_step_moves_the_images(uninterrupted: list[NDArray[Any]]) -> None:
    assert len(uninterrupted) == ITERATIONS * STEPS
    for before, after in pairwise(uninterrupted):
        assert (before != after).any(axis=(2, 3, 4)).all()
        assert np.isfinite(after).all()


@pytest.mark.parametrize("version", range(1, ITERATIONS * STEPS))
def test_a_run_resumed_after_any_step_gives_the_same_pixels(
    version: int, saved: Path, uninterrupted: list[NDArray[Any]], three_digits: ImageDataset, three_digits_config: DataConfig
) -> None:
    resumed = run(configuration(three_digits_config), three_digits, saved / str(version), start=version)
    assert len(resumed) == ITERATIONS * STEPS - version
    for found, expected in zip(resumed, uninterrupted[version:], strict=True):
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("width", [1, 2])
def test_any_number_of_classes_in_a_call_gives_the_same_pixels(
    width: int, uninterrupted: list[NDArray[Any]], three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    config = configuration(three_digits_config, matching={"classes_per_call": width}, schedule={"iterations": 1})
    for found, expected in zip(run(config, three_digits, tmp_path), uninterrupted[:STEPS], strict=True):
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("spare_classes", "width"), [(-1, 1), (0, 1), (1, 2)])
def test_classes_chosen_from_the_memory_of_a_worker_give_the_same_pixels(
    spare_classes: int,
    width: int,
    uninterrupted: list[NDArray[Any]],
    three_digits: ImageDataset,
    three_digits_config: DataConfig,
    tmp_path: Path,
) -> None:
    """Memory for one class in a call, for one more, and for none, in the pool that was measured."""
    config = configuration(three_digits_config, schedule={"iterations": 1})
    pool = LocalPool(config, three_digits.info, tmp_path)
    # Of a few images the rest takes more than the matching of all classes.
    measured = [replace(worker, own=10**8, footprint=replace(worker.footprint, other=0)) for worker in pool.measure()]
    bytes_of_one = max(worker.own + worker.footprint.peak(1) + spare_classes * worker.footprint.kept for worker in measured)
    cluster = config.cluster.model_copy(update={"memory_per_worker": (bytes_of_one + 1000) / 1e9})
    size = call_size(config.model_copy(update={"cluster": cluster}), measured, 3)
    assert (size.classes, size.fits) == (width, spare_classes >= 0), size
    sized = with_call_size(config, size)
    coordinator = Coordinator(sized, pool, classes=3, train_images=three_digits.info.sizes["train"])
    assert len(coordinator.plan(0).chunks) == -(-3 // width)
    images: list[NDArray[Any]] = []
    coordinator.run(0, lambda record: images.append(record.snapshot.images_KICHW))
    for found, expected in zip(images, uninterrupted[:STEPS], strict=True):
        assert found.tobytes() == expected.tobytes()


def test_another_seed_gives_other_pixels(
    uninterrupted: list[NDArray[Any]], three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    config = configuration(three_digits_config, schedule={"iterations": 1, "steps": 1}).model_copy(update={"seed": 12})
    (found,) = run(config, three_digits, tmp_path)
    assert (found != uninterrupted[0]).any()


@pytest.mark.parametrize("training", ["synthetic", "real"])
def test_a_pool_without_distillation_resumes_to_the_same_pixels(
    training: str, three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    matching = {"mutual_distillation": False, "metric": "cosine", "sampler": "random", "augmentation": "dsa"}
    config = configuration(
        three_digits_config, matching=matching, schedule={"iterations": 1, "training": training, "inner_epochs": 2}
    )
    whole = run(config, three_digits, tmp_path / "0", checkpoints=tmp_path)
    resumed = run(config, three_digits, tmp_path / "2", start=2)
    assert resumed[-1].tobytes() == whole[-1].tobytes()


DRAWN: dict[str, Any] = {"members": members("batchnorm", "shallow", "dropout"), "active": 1, "warmup": 1}


def drawn(data: DataConfig, **matching: Any) -> RunConfig:
    """One member drawn for an iteration, balanced against the main one by histories that last for
    the run."""
    matching = {"mutual_distillation": False, "sampler": "random"} | matching
    balance, schedule = {"mode": "ema", "scope": "run"}, {"iterations": 4, "steps": 2}
    return configuration(data, pool=DRAWN, matching=matching, balance=balance, schedule=schedule)


def test_a_drawn_pool_with_lasting_histories_gives_the_same_pixels(
    three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    whole = run(drawn(three_digits_config), three_digits, tmp_path / "0", checkpoints=tmp_path)
    for version in (1, 3, 4, 7):
        resumed = run(drawn(three_digits_config), three_digits, tmp_path / str(version), start=version)
        assert resumed[-1].tobytes() == whole[-1].tobytes()
    chunked = run(drawn(three_digits_config, classes_per_call=1), three_digits, tmp_path / "chunks")
    assert chunked[-1].tobytes() == whole[-1].tobytes()
    within = drawn(three_digits_config).balance.model_copy(update={"scope": "iteration"})
    other = drawn(three_digits_config).model_copy(update={"balance": within})
    assert run(other, three_digits, tmp_path / "other")[-1].tobytes() != whole[-1].tobytes()


@pytest.mark.parametrize(("agreement", "training"), [("mse", "synthetic"), ("standardised", "real"), ("standardised", "none")])
def test_trained_aligners_give_the_same_pixels(
    agreement: str, training: str, three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    """Two members drawn of three, resumed within an iteration and between two, and in chunks."""
    matching = {"agreement": agreement, "aligner_images": 24, "sampler": "random"}

    def drawn_pairs(**more: Any) -> RunConfig:
        schedule = {"iterations": 2, "steps": 3, "training": training, "inner_epochs": 2}
        pool = DRAWN | {"active": 2, "warmup": 0}
        return configuration(three_digits_config, pool=pool, matching=matching | more, schedule=schedule)

    whole = run(drawn_pairs(), three_digits, tmp_path / "0", checkpoints=tmp_path)
    for version in (1, 5):
        resumed = run(drawn_pairs(), three_digits, tmp_path / str(version), start=version)
        assert resumed[-1].tobytes() == whole[-1].tobytes()
    chunked = run(drawn_pairs(classes_per_call=1), three_digits, tmp_path / "chunks")
    assert chunked[-1].tobytes() == whole[-1].tobytes()
    other = run(drawn_pairs(aligner_images=16), three_digits, tmp_path / "other")
    assert other[-1].tobytes() != whole[-1].tobytes(), "aligners are not trained"
