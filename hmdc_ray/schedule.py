"""The plan of a run: a pure function of configuration, iteration and step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hmdc_ray.config import MatchingConfig, ScheduleConfig


@dataclass(frozen=True)
class StepPlan:
    """What happens in one step; also the name of the step in every call.

    Attributes:
        iteration: from 0; each starts with fresh networks.
        step: within the iteration, from 0.
        version: image version that the step works on, which is the number of steps before it.
        members: positions in the pool of the members that take part, ascending.
        chunks: classes of each call, in order.
        chooser: member whose turn it is to choose real images by k-means; None when none are chosen in this step.
        trains: whether members are trained after the image step; the last step of an iteration trains nothing, because
            the networks are replaced.
        training_batches: number of real batches when members are trained on real images, else 0.
    """

    iteration: int
    step: int
    version: int
    members: tuple[int, ...]
    chunks: tuple[tuple[int, ...], ...]
    chooser: int | None
    trains: bool
    training_batches: int


def total_steps(schedule: ScheduleConfig) -> int:
    """Image steps of a complete run."""
    return schedule.iterations * schedule.steps


def plan_step(
    schedule: ScheduleConfig, matching: MatchingConfig, *, members: int, classes: int, train_images: int, version: int
) -> StepPlan:
    """The plan of the step that turns image version ``version`` into the next.

    Args:
        schedule: how long, and what members are trained on.
        matching: chunks of classes and choice of real images.
        members: size of the pool.
        classes: number of classes.
        train_images: number of real training images.
        version: steps before this one.
    """
    iteration, step = divmod(version, schedule.steps)
    drawn = tuple(range(members))
    turn, due = divmod(step, matching.sampler_period)
    width = matching.classes_per_call or classes
    labels = tuple(range(classes))
    trains = schedule.training != "none" and step + 1 < schedule.steps
    real_batches = math.ceil(min(schedule.real_images, train_images) / schedule.batch)
    return StepPlan(
        iteration=iteration,
        step=step,
        version=version,
        members=drawn,
        chunks=tuple(labels[start : start + width] for start in range(0, classes, width)),
        chooser=drawn[turn % len(drawn)] if matching.sampler == "kmeans" and due == 0 else None,
        trains=trains,
        training_batches=real_batches if trains and schedule.training == "real" else 0,
    )
