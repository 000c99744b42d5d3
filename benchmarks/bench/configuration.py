"""The configuration that is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hmdc_ray.config import (
    BalanceConfig,
    DataConfig,
    ImagesConfig,
    MatchingConfig,
    MemberConfig,
    PoolConfig,
    RunConfig,
    ScheduleConfig,
)
from hmdc_ray.config.io import apply_overrides
from hmdc_ray.config.presets import digits
from hmdc_ray.errors import InputError
from hmdc_ray.profiling.steps import with_length

STAND_IN = DataConfig(source="digits", image_size=(32, 32), channels=3)
"""The built-in digits in the shape of CIFAR-10, whose classes are ten too: a step computes and
moves as much."""


def bench_config(data: str | None, steps: int, assignments: Sequence[str]) -> RunConfig:
    """HMDC's step (arXiv 2409.14538) with two ConvNets: 10 images per class, f = 2, real batch 128,
    MD and GBM on.

    Args:
        data: source of the images: ``digits``, a Parquet file, or a folder of them; None:
            :data:`STAND_IN`.
        steps: number of steps measured after the warm-up; the schedule has one more, because an
            iteration's last step trains nothing.
        assignments: texts ``section.field=value``, which do not change the schedule's length.

    Raises:
        InputError: the data does not exist, or an assignment is not valid.
    """
    if data is not None and data != "digits" and not Path(data).expanduser().exists():
        raise InputError(
            f"--data {data!r} does not exist: give CIFAR-10 as a Parquet file or a folder of them, such as "
            "'hmdc prepare torchvision:cifar10 DIR' writes, or leave it out for the built-in digits"
        )
    config = RunConfig(
        name="bench",
        data=STAND_IN if data is None else DataConfig(source=data),
        pool=PoolConfig(
            members=tuple(
                MemberConfig(name=f"convnet{depth}", architecture="convnet", options={"width": 128, "depth": depth})
                for depth in (3, 4)
            )
        ),
        matching=MatchingConfig(metric="mse", mutual_distillation=True, real_batch=128, augmentation="idc"),
        balance=BalanceConfig(mode="sum", period=10),
        images=ImagesConfig(ipc=10, formation=2, initialise="real", learning_rate=5e-3, normalise="max", clip=True),
        schedule=ScheduleConfig(training="real", real_images=2000, batch=128),
    )
    return with_length(apply_overrides(config, assignments), steps)


def tracked_config() -> RunConfig:
    """The preset ``digits`` with more steps in an iteration: short steps, of which tracking would
    take the largest part."""
    config = digits()
    return config.model_copy(update={"schedule": config.schedule.model_copy(update={"steps": 6})})
