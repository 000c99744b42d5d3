"""Probabilities, weights and optimisation together."""

from __future__ import annotations

from hmdc_ray.config import RunConfig
from tune_spaces import loss_weights, optimisation, pool_probabilities
from tune_spaces.fields import Sample, Space

PARTS = (loss_weights, optimisation, pool_probabilities)
"""In the order in which they are applied: members leave the pool last, so that the fields of all can be set before."""


def space(base: RunConfig) -> Space:
    """The domains of all parts."""
    return {path: domain for part in PARTS for path, domain in part.space(base).items()}


def apply(base: RunConfig, sample: Sample) -> RunConfig:
    """The base with what every part makes of the draw."""
    config = base
    for part in PARTS:
        config = part.apply(config, sample)
    return config
