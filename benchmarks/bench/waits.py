"""What a GPU would have to do with the host in a step, counted on a device that is pretended."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.bench.configuration import bench_config
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import apply_overrides

if TYPE_CHECKING:
    from benchmarks.pretend_device import Kind

PLAIN, CHOOSING = "step", "step in which a member chooses images by k-means"

SMALL = (
    'data.classes=["0","1","2","3"]',
    "pool.members.convnet3.options={width: 8, depth: 2}",
    "pool.members.convnet4.options={width: 8, depth: 3}",
    "matching.real_batch=16",
    "matching.aligner_images=96",
    "matching.sampler=kmeans",
    "matching.sampler_period=2",
    "matching.classes_per_call=4",
    "images.ipc=2",
    "schedule.real_images=96",
    "schedule.batch=32",
)
"""The bench's step on four classes, with three batches in a training and in one of aligners; small,
because counts do not depend on sizes."""


def waits_config() -> RunConfig:
    """The run whose steps are counted."""
    return apply_overrides(bench_config("digits", 2, ()), SMALL)


def count_waits(config: RunConfig) -> dict[str, dict[Kind, int]]:
    """Copies and synchronisations of all members in one step, by the step's name and by kind.

    The device must be pretended before a process' first derivative, and stays: see
    :func:`measure_waits`.

    Args:
        config: a run whose second step chooses no images and whose third one does.
    """
    from typing import get_args

    from benchmarks.pretend_device import Kind, pretend_device
    from hmdc_ray.actors.local import LocalPool
    from hmdc_ray.data.dataset import open_dataset
    from hmdc_ray.exchange.step_records import StepRecord
    from hmdc_ray.profiling.steps import run_steps

    info, found = open_dataset(config.data).info, {}
    with pretend_device() as (device, waits), TemporaryDirectory() as folder:

        def after_step(record: StepRecord) -> None:
            name = PLAIN if record.plan.chooser is None else CHOOSING
            found[name] = {kind: waits.total(kind) for kind in get_args(Kind)}
            waits.counts.clear()

        run_steps(config, info, LocalPool(config, info, Path(folder), device), 3, after_step)
    return found


def measure_waits(config: RunConfig) -> Mapping[str, Mapping[Kind, int]]:
    """:func:`count_waits` in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(count_waits, config).result()
