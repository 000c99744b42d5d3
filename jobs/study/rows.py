"""What is compared: seven ways to learn the same number of images, and how each is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

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
from hmdc_ray.config.io import apply_overrides

WIDTHS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {"convnet": {"width": 16}, "lenet": {}, "alexnet": {"width": 16}, "vgg11": {"width": 8}}
)
"""The members, at a width that two cores can afford."""

UNSEEN: Mapping[str, dict[str, Any]] = MappingProxyType({"mlp": {}, "resnet18": {"width": 8}})
"""Students that are in no pool."""

GRID = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Learning rates of the images from which every row chooses on validation data."""

TIMED = GRID[1:4]
"""Those whose runs tell how much work a step is."""


@dataclass(frozen=True)
class Row:
    """One way to learn the images.

    Attributes:
        title: for the table.
        pool: members and draws.
        balanced: whether GBM is on.
        distilled: whether MD is on.
        like: name of the row that gives the budget in seconds of work; None: the same number of image steps as all.
    """

    title: str
    pool: PoolConfig
    balanced: bool = False
    distilled: bool = False
    like: str | None = None


def _pool(probabilities: Mapping[str, float], loss_weight: float = 1.0, active: int | None = None) -> PoolConfig:
    return PoolConfig(
        members=tuple(
            MemberConfig(architecture=name, options=WIDTHS[name], probability=probability, loss_weight=loss_weight)
            for name, probability in probabilities.items()
        ),
        active=active,
    )


_EQUAL = dict.fromkeys(WIDTHS, 0.25)
_ALONE = _pool({"convnet": 1.0})
_MEAN = _pool(_EQUAL, loss_weight=0.25)
_RARE = 0.1 / 3

ROWS: Mapping[str, Row] = MappingProxyType(
    {
        "dc": Row("ConvNet alone, equal steps", _ALONE),
        "dc-compute": Row("ConvNet alone, equal work", _ALONE, like="gbm-md"),
        "drawn": Row("four networks, one drawn", _pool(_EQUAL, active=1)),
        "drawn-0.9": Row(
            "one drawn, ConvNet 0.9",
            _pool({"convnet": 0.9, "lenet": _RARE, "alexnet": _RARE, "vgg11": _RARE}, active=1),
        ),
        "mean": Row("all four, plain mean", _MEAN),
        "gbm": Row("all four, GBM", _MEAN, balanced=True),
        "gbm-md": Row("all four, GBM and MD", _MEAN, balanced=True, distilled=True),
    }
)
"""The rows by name."""


def study_config(
    row: Row, *, source: str, statistics: str | None, learning_rate: float, seed: int, changes: Sequence[str]
) -> RunConfig:
    """The run of one row.

    Args:
        row: how the images are learned.
        source: ``digits``, a Parquet file, or a folder of them.
        statistics: known mean and standard deviation to normalise with; None: computed.
        learning_rate: of the images.
        seed: of the condensed set.
        changes: further ``section.field=value``.
    """
    config = RunConfig(
        name="study",
        seed=seed,
        data=DataConfig(source=source, statistics=statistics),
        pool=row.pool,
        matching=MatchingConfig(metric="cosine", mutual_distillation=row.distilled, real_batch=32),
        balance=BalanceConfig(mode="ema" if row.balanced else "none", period=1, distillation_weight=0.25),
        images=ImagesConfig(ipc=1, initialise="real", learning_rate=learning_rate),
        schedule=ScheduleConfig(iterations=20, steps=5, training="synthetic", inner_epochs=10),
        evaluation=EvaluationConfig(
            students=tuple(StudentConfig(architecture=name, options=options) for name, options in {**WIDTHS, **UNSEEN}.items()),
            seeds=1,
            baselines="none",
        ),
    )
    return apply_overrides(config, changes)
