"""Optimisation of images and members: learning rates, the distance between gradients, the scaling
of the update."""

from __future__ import annotations

from ray import tune

from hmdc_ray.config import RunConfig
from tune_spaces.fields import Sample, Space, member_path, near, replace

IMAGE_FACTOR = 10.0
"""Learning rates of images are searched from a tenth of the base's to ten times it: the best moves
with the metric."""

MEMBER_FACTOR = 5.0
"""The same factor for members' learning rates."""

LARGEST_IMAGE_RATE = 1e4
LARGEST_MEMBER_RATE = 100.0


def space(base: RunConfig) -> Space:
    """Learning rates around the base's on a logarithmic scale, metric and normalisation.

    Members' learning rates are left out where members are not trained.
    """
    domains: Space = {
        "images.learning_rate": tune.loguniform(*near(base.images.learning_rate, IMAGE_FACTOR, LARGEST_IMAGE_RATE)),
        "matching.metric": tune.choice(["mse", "cosine", "l1"]),
        "images.normalise": tune.choice(["none", "max"]),
    }
    if base.schedule.training != "none" and base.schedule.steps > 1:
        for index, member in enumerate(base.pool.members):
            bounds = near(member.learning_rate, MEMBER_FACTOR, LARGEST_MEMBER_RATE)
            domains[member_path(base, index, "learning_rate")] = tune.loguniform(*bounds)
    return domains


def apply(base: RunConfig, sample: Sample) -> RunConfig:
    """The base with the optimisation of the draw."""
    return replace(base, {path: sample[path] for path in space(base)})
