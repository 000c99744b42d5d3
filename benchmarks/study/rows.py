"""What is compared: ways to learn the same number of images, and the students that judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

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

MEMBERS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "convnet": {"width": 16},
        "lenet": {},
        "alexnet": {"width": 16},
        "vit": {"width": 32, "depth": 3, "heads": 4},
    }
)
"""The members of the pool, at a width that two cores can afford."""

ALIGNER_IMAGES = 256
"""Real images of every pass of the aligners."""

PROBE_EVERY = 20
"""Steps between two probes of the consensus."""

Agreement = Literal["untrained", "mse", "standardised"]
"""What mutual distillation compares: random projections, or what trained aligners make of the
features."""


@dataclass(frozen=True)
class Row:
    """One way to learn the images.

    Attributes:
        title: title in the table.
        pool: members and draws.
        balance: balance of the targets.
        normalise: scaling of the images' update.
        agreement: form of mutual distillation; None: there is none.
        short: name of the same row with as many image steps as all others; this one gets the work
            of the row of all four members balanced. None: this row has as many image steps as all
            others.
    """

    title: str
    pool: PoolConfig
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    normalise: Literal["none", "max"] = "none"
    agreement: Agreement | None = None
    short: str | None = None


def _pool(*names: str, loss_weight: float = 1.0, active: int | None = None, warmup: int = 0) -> PoolConfig:
    return PoolConfig(
        members=tuple(MemberConfig(architecture=name, options=MEMBERS[name], loss_weight=loss_weight) for name in names),
        active=active,
        warmup=warmup,
    )


_ALONE = _pool("convnet")
_DRAWN = _pool(*MEMBERS, active=1, warmup=1)  # the main member first: balance of a run takes its scale from it
_ALL = _pool(*MEMBERS, loss_weight=0.25)
_BALANCED = BalanceConfig(mode="ema", period=1, distillation_weight=0.25)

_OF_RUN = BalanceConfig(mode="ema", period=1, scope="run")

ALONE, WORK, BALANCED = "alone", "alone-work", "balanced"
DRAWN, DRAWN_MAX, DRAWN_RUN = "drawn", "drawn-max", "drawn-run"

ROWS: Mapping[str, Row] = MappingProxyType(
    {
        ALONE: Row("ConvNet alone, equal steps", _ALONE),
        WORK: Row("ConvNet alone, equal work", _ALONE, short=ALONE),
        DRAWN: Row("one of four drawn", _DRAWN),
        DRAWN_MAX: Row("one drawn, normalise max", _DRAWN, normalise="max"),
        DRAWN_RUN: Row("one drawn, balance of the run", _DRAWN, _OF_RUN),
        "drawn-max-work": Row("one drawn, normalise max, equal work", _DRAWN, normalise="max", short=DRAWN_MAX),
        "drawn-run-work": Row("one drawn, balance of the run, equal work", _DRAWN, _OF_RUN, short=DRAWN_RUN),
        BALANCED: Row("all four, balanced", _ALL, _BALANCED),
        "md-untrained": Row("the same, MD with aligners that nothing trains", _ALL, _BALANCED, agreement="untrained"),
        "md-mse": Row("the same, MD mse", _ALL, _BALANCED, agreement="mse"),
        "md-standardised": Row("the same, MD standardised", _ALL, _BALANCED, agreement="standardised"),
    }
)
"""The rows by name."""


def unseen(source: str) -> dict[str, dict[str, Any]]:
    """Students that are in no pool; on the few pixels of the digits a ResNet in the place of a
    VGG."""
    return {"mlp": {}, **({"resnet18": {"width": 8}} if source == "digits" else {"vgg11": {"width": 8}})}


def students(source: str) -> tuple[StudentConfig, ...]:
    """All students that judge the images: the members and the unseen ones."""
    return tuple(StudentConfig(architecture=name, options=options) for name, options in {**MEMBERS, **unseen(source)}.items())


def study_config(
    row: Row, *, source: str, statistics: str | None, learning_rate: float, seed: int, changes: Sequence[str]
) -> RunConfig:
    """The run of one row.

    Args:
        row: way to learn the images.
        source: source of the images: ``digits``, a Parquet file, or a folder of them.
        statistics: name of known mean and standard deviation to normalise with; None: computed.
        learning_rate: learning rate of the images.
        seed: seed of the condensed set.
        changes: further assignments ``section.field=value``.
    """
    config = RunConfig(
        name="study",
        seed=seed,
        data=DataConfig(source=source, statistics=statistics),
        pool=row.pool,
        matching=MatchingConfig(metric="cosine", real_batch=32),
        balance=row.balance,
        images=ImagesConfig(ipc=1, initialise="real", learning_rate=learning_rate, normalise=row.normalise),
        schedule=ScheduleConfig(iterations=20, steps=3, training="synthetic", inner_epochs=10),
        # Without augmentation on any data, which for some is not the protocol's default and takes
        # three times as long.
        evaluation=EvaluationConfig(students=students(source), augmentation=False, baselines="none"),
    )
    return apply_overrides(config, [*_distillation(row.agreement), *changes])


def _distillation(agreement: Agreement | None) -> list[str]:
    if agreement is None:
        return []
    how = ["matching.mutual_distillation=true", f"matching.probe_every={PROBE_EVERY}"]
    if agreement == "untrained":  # steps of this size change no weight
        return [*how, "schedule.aligner_learning_rate=1e-30", "matching.aligner_images=2"]
    return [*how, f"matching.agreement={agreement}", f"matching.aligner_images={ALIGNER_IMAGES}"]
