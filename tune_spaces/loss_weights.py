"""Weights of the targets: lambda of every member and of mutual distillation; form of the Gradient
Balance Module."""

from __future__ import annotations

from ray import tune

from hmdc_ray.config import RunConfig
from tune_spaces.fields import Sample, Space, member_path, replace

RANGE = (0.1, 10.0)
"""Range of the weights, on a logarithmic scale around 1."""


def space(base: RunConfig) -> Space:
    """A weight for every member, one for mutual distillation where it is on, the balance's mode and
    period."""
    members = range(len(base.pool.members))
    domains: Space = {member_path(base, index, "loss_weight"): tune.loguniform(*RANGE) for index in members}
    if base.matching.mutual_distillation and len(members) > 1:
        domains["balance.distillation_weight"] = tune.loguniform(*RANGE)
    domains["balance.mode"] = tune.choice(["none", "sum", "max", "ema", "last"])
    domains["balance.period"] = tune.choice([1, 2, 5, 10])
    return domains


def apply(base: RunConfig, sample: Sample) -> RunConfig:
    """The base with the weights of the draw."""
    return replace(base, {path: sample[path] for path in space(base)})
