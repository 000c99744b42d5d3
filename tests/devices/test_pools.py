"""Whole pools on a device that is as strict as a GPU: the same pixels as on the CPU but for
rounding.

A run in float64, in which k-means chooses the same images on both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from parity.runs import members

from benchmarks.pretend_device import pretend_device
from hmdc_ray.actors.local import LocalPool
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.run.coordinator import Coordinator
from hmdc_ray.server.checkpoint import CheckpointFolder

STEPS = 3

SETTINGS: dict[str, dict[str, Any]] = {
    "alone": {"matching": {"mutual_distillation": False}},
    "alone on synthetic images": {"matching": {"mutual_distillation": False}, "schedule": {"training": "synthetic"}},
    "distilling": {},
    "distilling on synthetic images": {"schedule": {"training": "synthetic"}},
    "distilling, standardised": {"matching": {"agreement": "standardised", "peer_gradient": "detached", "augmentation": "dsa"}},
}


def configuration(data: DataConfig, **sections: Any) -> RunConfig:
    """Two members, one with BatchNorm and CutMix and one with dropout, and all that moves."""
    settings: dict[str, Any] = {
        "seed": 11,
        "data": data,
        "pool": {"members": members("batchnorm", "dropout", cutmix=True)},
        "matching": {
            "mutual_distillation": True,
            "aligner_images": 24,
            "real_batch": 6,
            "sampler": "kmeans",
            "sampler_period": 2,
            "augmentation": "idc",
            "precision": "float64",
            "probe_every": 2,
            "classes_per_call": 2,
        },
        "balance": {"mode": "ema", "period": 2},
        "images": {"initialise": "kmeans", "ipc": 2, "formation": 2, "learning_rate": 0.05},
        "schedule": {"iterations": 1, "steps": STEPS, "training": "real", "real_images": 24, "batch": 10},
    }
    for name, fields in sections.items():
        settings[name] = settings[name] | fields
    return RunConfig.model_validate(settings)


def run(
    config: RunConfig,
    dataset: ImageDataset,
    folder: Path,
    device: torch.device | None = None,
    start: int = 0,
    checkpoints: Path | None = None,
) -> tuple[list[NDArray[Any]], list[dict[str, float]]]:
    """Images and numbers of every step from ``start``; with ``checkpoints`` each is saved in a
    folder named by its version."""
    pool = LocalPool(config, dataset.info, folder, device)
    coordinator = Coordinator(config, pool, classes=3, train_images=dataset.info.sizes["train"])
    images: list[NDArray[Any]] = []
    numbers: list[dict[str, float]] = []

    def after_step(record: StepRecord) -> None:
        images.append(record.snapshot.images_KICHW)
        numbers.append({name: value for name, value in record.metrics.items() if not name.startswith("seconds/")})
        if checkpoints is not None:
            pool.server.processes[0].checkpoints = CheckpointFolder(checkpoints / str(record.snapshot.version) / "checkpoint")
            coordinator.checkpoint(record.snapshot.version)

    coordinator.run(start, after_step)
    return images, numbers


@pytest.mark.parametrize(("name", "free"), [*((name, 2**30) for name in SETTINGS), ("distilling", 0)])
def test_a_pool_condenses_the_same_images(
    name: str, free: int, three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    config = configuration(three_digits_config, **SETTINGS[name])
    expected, expected_numbers = run(config, three_digits, tmp_path / "cpu")
    with pretend_device(free) as (device, _):
        found, numbers = run(config, three_digits, tmp_path / "device", device)
    assert len(found) == len(expected) == STEPS
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8)
    for our_numbers, their_numbers in zip(numbers, expected_numbers, strict=True):
        assert our_numbers == pytest.approx(their_numbers, rel=1e-7)
    assert not np.array_equal(expected[0], expected[-1])


@pytest.mark.parametrize("version", [1, 2])
def test_a_resumed_run_gives_the_same_pixels(
    version: int, three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    config = configuration(three_digits_config)
    with pretend_device() as (device, _):
        whole, _ = run(config, three_digits, tmp_path / "0", device, checkpoints=tmp_path)
        resumed, _ = run(config, three_digits, tmp_path / str(version), device, start=version)
    assert [images.tobytes() for images in resumed] == [images.tobytes() for images in whole[version:]]
