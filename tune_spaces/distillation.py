"""Knowledge distillation in the evaluation: alpha, and the temperature tau.

Every trial has the images of the base; only their use is searched. As in all searches, validation
data choose the best.
"""

from __future__ import annotations

from ray import tune

from hmdc_ray.config import RunConfig
from tune_spaces.fields import Sample, Space, replace

ALPHA = "evaluation.distillation.alpha"
TEMPERATURES = "evaluation.distillation.temperatures"


def space(base: RunConfig) -> Space:
    """Alpha from 0 to 1, tau from 1 to 20 on a logarithmic scale."""
    return {ALPHA: tune.uniform(0.0, 1.0), TEMPERATURES: tune.loguniform(1.0, 20.0)}


def apply(base: RunConfig, sample: Sample) -> RunConfig:
    """The base with a distillation of one temperature; the base's teacher if it has one, else a
    ConvNet."""
    return replace(base, {ALPHA: sample[ALPHA], TEMPERATURES: [sample[TEMPERATURES]]})
