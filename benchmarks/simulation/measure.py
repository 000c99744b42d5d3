"""How long a member computes for a class, measured on images of noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.simulation.members import Sizes
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.sources import prepare
from hmdc_ray.exchange.messages import MemberTaps
from hmdc_ray.matching.ssd import common_size
from hmdc_ray.models import ImageShape, build
from hmdc_ray.profiling.one_process import measure_one_process
from hmdc_ray.profiling.steps import with_length, worker_process
from hmdc_ray.seeding import Key

EXCHANGES = {
    "features": ("data", "forward"),
    "match": (
        "real_gradients",
        "synthetic_gradients",
        "second_derivative",
        "distillation_real",
        "distillation_synthetic",
    ),
    "pull_back": ("pull_back",),
}
"""Phases of a member's work in each exchange."""

CLASSES = 2
"""Number of classes that are measured; every class takes as long."""


def measured(config: RunConfig, side: int, steps: int, report: Callable[[str], None]) -> tuple[Sizes, MemberTaps]:
    """What the first member sends for a class and how long it computes, and its taps.

    Args:
        config: the run; a pool of two copies of its first member is measured.
        side: height and width of the colour images, in pixels.
        steps: number of steps measured after one to warm up.
        report: callback that gets lines on the progress.
    """
    member, real = config.pool.members[0], config.matching.real_batch
    twins = [member.model_copy(update={"name": name}) for name in ("first", "second")]
    with TemporaryDirectory() as folder:
        source = _noise(Path(folder), side, images=CLASSES * (real + 8))
        small = config.model_copy(
            update={
                "data": DataConfig(source=str(source), cache=str(Path(folder) / "cache")),
                "pool": config.pool.model_copy(update={"members": tuple(twins), "main": None}),
                "images": config.images.model_copy(update={"initialise": "noise"}),
                "schedule": config.schedule.model_copy(update={"training": "none"}),
            }
        )
        small = with_length(small, steps)
        info = open_dataset(small.data).info
        measurement = measure_one_process(small, info, steps, report).measurement
    phases = [step.phases[worker_process("first")] for step in measurement.steps]
    seconds = {
        exchange: median(sum(step.get(name, 0.0) for name in names) for step in phases) / CLASSES
        for exchange, names in EXCHANGES.items()
    }
    return sent(config, side, seconds)


def sent(config: RunConfig, side: int, seconds: dict[str, float]) -> tuple[Sizes, MemberTaps]:
    """What the first member sends for a class, and its taps.

    Args:
        config: the run.
        side: height and width of the colour images, in pixels.
        seconds: seconds that it computes for a class, by exchange.
    """
    member, real = config.pool.members[0], config.matching.real_batch
    network = build(member.architecture, member.options, ImageShape(3, side, side), CLASSES, Key(config.seed, "network"))
    size = common_size([network.taps])
    images = config.images
    sizes = Sizes(
        images=(images.ipc, 3, side, side),
        real=real,
        synthetic=min(real, images.ipc * images.formation**2),
        features=(size.layers, size.tokens, size.channels),
        seconds=seconds,
    )
    return sizes, MemberTaps("convnet", network.taps)


def _noise(folder: Path, side: int, images: int) -> Path:
    """Write a data set of noise into a folder, and return the folder with its Parquet files."""
    pixels_NHWC = np.random.default_rng(0).integers(0, 256, (images, side, side, 3), dtype=np.uint8)
    labels = np.arange(images) % CLASSES
    np.savez(folder / "noise.npz", x_train=pixels_NHWC, y_train=labels, x_test=pixels_NHWC[:CLASSES], y_test=labels[:CLASSES])
    prepare(str(folder / "noise.npz"), folder / "noise")
    return folder / "noise"
