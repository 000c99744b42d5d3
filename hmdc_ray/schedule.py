"""The plan of a run: a pure function of configuration, seed, iteration and step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hmdc_ray.config import MatchingConfig, PoolConfig, ScheduleConfig
from hmdc_ray.seeding import Key


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


def draw_members(pool: PoolConfig, seed: int, iteration: int) -> tuple[int, ...]:
    """Positions of the members that take part in an iteration, ascending (model pool, Zhou et al., arXiv 2402.13007).

    During the warm-up the main member alone; then ``pool.drawn`` of them one after the other without replacement, each time
    in proportion to the probabilities of those left.

    Args:
        pool: the members and their probabilities.
        seed: the run's seed.
        iteration: from 0.
    """
    if iteration < pool.warmup:
        return (pool.main_index,)
    count = len(pool.members)
    if pool.drawn == count:
        return tuple(range(count))
    generator = Key(seed, "pool", iteration=iteration).numpy()
    drawn = generator.choice(count, size=pool.drawn, replace=False, p=pool.probabilities)
    return tuple(sorted(int(member) for member in drawn))


def plan_step(
    schedule: ScheduleConfig,
    matching: MatchingConfig,
    pool: PoolConfig,
    *,
    seed: int,
    classes: int,
    train_images: int,
    version: int,
) -> StepPlan:
    """The plan of the step that turns image version ``version`` into the next.

    Args:
        schedule: how long, and what members are trained on.
        matching: chunks of classes and choice of real images.
        pool: the members, and how they are drawn.
        seed: the run's seed.
        classes: number of classes.
        train_images: number of real training images.
        version: steps before this one.
    """
    iteration, step = divmod(version, schedule.steps)
    drawn = draw_members(pool, seed, iteration)
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
