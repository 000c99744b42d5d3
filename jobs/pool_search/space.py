"""The space of the study: how often each member takes part, and how much each target counts."""

from __future__ import annotations

from hmdc_ray.config import RunConfig
from tune_spaces import loss_weights, pool_probabilities
from tune_spaces.fields import Sample, Space

PARTS = (loss_weights, pool_probabilities)
"""In the order in which they are applied: members leave the pool last."""


def space(base: RunConfig) -> Space:
    """The domains of both parts."""
    return {path: domain for part in PARTS for path, domain in part.space(base).items()}


def apply(base: RunConfig, sample: Sample) -> RunConfig:
    """The base with what both parts make of the draw."""
    config = base
    for part in PARTS:
        config = part.apply(config, sample)
    return config
