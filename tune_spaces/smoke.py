"""The joint space with a fifth of the iterations and of the evaluation's seeds: to test that a
search works."""

from __future__ import annotations

from hmdc_ray.config import RunConfig
from tune_spaces import joint
from tune_spaces.fields import Sample, Space, replace

PART = 5


def _small(base: RunConfig) -> RunConfig:
    fields = {"schedule.iterations": base.schedule.iterations, "evaluation.seeds": base.evaluation.seeds}
    cut = {path: max(1, round(number / PART)) for path, number in fields.items()}
    return replace(base, {**cut, "pool.warmup": base.pool.warmup // PART})


def space(base: RunConfig) -> Space:
    """The joint space of the small run."""
    return joint.space(_small(base))


def apply(base: RunConfig, sample: Sample) -> RunConfig:
    """The small run with the draw of the joint space applied."""
    return joint.apply(_small(base), sample)
