"""Configurations by name. Each preset is a short function; ``hmdc presets`` shows its first docstring line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hmdc_ray.config import (
    BalanceConfig,
    DataConfig,
    EvaluationConfig,
    ImagesConfig,
    MatchingConfig,
    MemberConfig,
    PoolConfig,
    RunConfig,
    ScheduleConfig,
    StudentConfig,
)
from hmdc_ray.errors import InputError, closest


def digits() -> RunConfig:
    """Three networks, balanced and distilled, on the built-in 16x16 digits: one image per class."""
    return RunConfig(
        name="digits",
        data=DataConfig(source="digits"),
        pool=PoolConfig(
            members=(
                MemberConfig(architecture="convnet", options={"width": 32}),
                MemberConfig(architecture="vit", options={"patch_size": 8, "depth": 2}),
                MemberConfig(architecture="lenet"),
            )
        ),
        matching=MatchingConfig(
            metric="cosine",
            mutual_distillation=True,
            real_batch=32,
            families=("brightness", "saturation", "contrast", "crop", "scale", "rotate", "cutout"),
        ),
        balance=BalanceConfig(mode="ema", period=1),
        images=ImagesConfig(ipc=1, initialise="real", learning_rate=0.1),
        schedule=ScheduleConfig(iterations=24, steps=1),
        evaluation=EvaluationConfig(
            students=(
                StudentConfig(architecture="convnet", options={"width": 32}),
                StudentConfig(architecture="vit", options={"patch_size": 8, "depth": 2}),
                StudentConfig(architecture="lenet"),
                StudentConfig(architecture="mlp"),
                StudentConfig(architecture="alexnet", options={"width": 32}),
            ),
            seeds=3,
        ),
    )


def dc() -> RunConfig:
    """Dataset Condensation with gradient matching (Zhao et al., ICLR 2021): one ConvNet, one image per class."""
    return RunConfig(
        name="dc",
        pool=PoolConfig(members=(MemberConfig(architecture="convnet", learning_rate=0.01),)),
        matching=MatchingConfig(metric="cosine", real_batch=256),
        images=ImagesConfig(ipc=1, initialise="noise", learning_rate=0.1, momentum=0.5),
        schedule=ScheduleConfig(iterations=1000, steps=1, training="synthetic", inner_epochs=10, batch=256),
        evaluation=EvaluationConfig(
            students=tuple(StudentConfig(architecture=name) for name in ("convnet", "mlp", "lenet")),
        ),
    )


PRESETS: Mapping[str, Callable[[], RunConfig]] = MappingProxyType({"digits": digits, "dc": dc})
"""Presets by name."""


def preset(name: str) -> RunConfig:
    """The configuration of a preset.

    Raises:
        InputError: there is none of this name.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name!r} does not exist: {closest(name, PRESETS)}")
    return PRESETS[name]()


def describe(name: str) -> str:
    """One line on a preset."""
    return (PRESETS[name].__doc__ or "").strip().splitlines()[0]
