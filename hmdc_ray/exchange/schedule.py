"""The plan of a run: a pure function of configuration, seed, iteration and step."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from hmdc_ray.config import MatchingConfig, PoolConfig, RunConfig, ScheduleConfig
from hmdc_ray.data.cutting import batch_slices
from hmdc_ray.seeding import Key


@dataclass(frozen=True)
class StepPlan:
    """What happens in one step; it also identifies the step in every call.

    Attributes:
        iteration: number of the iteration, from 0; each starts with fresh networks.
        step: number of the step within the iteration, from 0.
        version: image version that the step works on, which is the number of steps before it.
        members: positions in the pool of the members that take part, ascending.
        chunks: classes of each call, in the order of the calls; at least as many chunks as a member
            has replicas.
        chooser: position of the member that chooses real images by k-means in this step; None if
            none are chosen.
        trains: whether members are trained after the image step; the last step of an iteration
            trains nothing, because the networks are replaced.
        training_batches: number of batches on which members are trained after the image step; 0 if
            they are not.
        aligner_batches: number of real batches in a training of the aligners; 0 without mutual
            distillation.
        probes: whether the consensus of the members' features is probed.
    """

    iteration: int
    step: int
    version: int
    members: tuple[int, ...]
    chunks: tuple[tuple[int, ...], ...]
    chooser: int | None
    trains: bool
    training_batches: int
    aligner_batches: int = 0
    probes: bool = False


def total_steps(schedule: ScheduleConfig) -> int:
    """Image steps of a complete run."""
    return schedule.iterations * schedule.steps


def draw_members(pool: PoolConfig, seed: int, iteration: int, absent: Collection[int] = ()) -> tuple[int, ...]:
    """Positions of the members that take part in an iteration, ascending (model pool, Zhou et al.,
    arXiv 2402.13007).

    During the warm-up only the main member takes part; then ``pool.drawn`` members are drawn one
    after the other without replacement, each in proportion to the probabilities of those left. The
    probability of absent members goes to the others in proportion to theirs; the first member
    present takes the place of an absent main member.

    Args:
        pool: the members and their probabilities.
        seed: the run's seed.
        iteration: number of the iteration, from 0.
        absent: positions of members that have left the pool; at least one member is present.
    """
    present = [member for member in range(len(pool.members)) if member not in absent]
    if iteration < pool.warmup:
        return (pool.main_index if pool.main_index in present else present[0],)
    if pool.drawn >= len(present):
        return tuple(present)
    weights = np.array([pool.probabilities[member] for member in present])
    if not weights.any():  # those that are left were never to be drawn
        weights += 1
    if absent:  # else they sum to 1 already, and stay as they were given
        weights /= weights.sum()
    generator = Key(seed, "pool", iteration=iteration).numpy()
    drawn = generator.choice(present, size=min(pool.drawn, int((weights > 0).sum())), replace=False, p=weights)
    return tuple(sorted(int(member) for member in drawn))


def balance_notes(config: RunConfig) -> tuple[str, ...]:
    """Notes on the balance that may surprise a user: one line, or none.

    With ``balance.scope: run`` the main member's history gives the scale, which exists only once
    that member was drawn.
    """
    if config.balance.scope == "iteration":
        return ()
    main, name = config.pool.main_index, config.pool.members[config.pool.main_index].name
    drawn = (draw_members(config.pool, config.seed, iteration) for iteration in range(config.schedule.iterations))
    first = next((iteration for iteration, members in enumerate(drawn) if main in members), None)
    if first == 0:
        return ()
    until = "is never drawn, so" if first is None else f"is drawn in iteration {first} for the first time, and until then"
    return (f"the main member {name!r} {until} nothing is balanced against it; pool.warmup=1 draws it first",)


def plan_step(
    schedule: ScheduleConfig,
    matching: MatchingConfig,
    pool: PoolConfig,
    *,
    seed: int,
    classes: int,
    train_images: int,
    version: int,
    synthetic_images: int | None = None,
    absent: Collection[int] = (),
    shards: int = 1,
) -> StepPlan:
    """The plan of the step that turns image version ``version`` into the next.

    Args:
        schedule: lengths of the run and of the members' training.
        matching: chunks of classes and choice of real images.
        pool: the members and their probabilities.
        seed: the run's seed.
        classes: number of classes.
        train_images: number of real training images.
        version: number of steps before this one.
        synthetic_images: number of decoded images of all classes; None: one per class.
        absent: positions of members that have left the pool.
        shards: number of shards of the parameter server; each chunk belongs to one, the next chunk
            to another.
    """
    iteration, step = divmod(version, schedule.steps)
    drawn = draw_members(pool, seed, iteration, absent)
    turn, due = divmod(step, matching.sampler_period)
    replicas = max(pool.members[member].replicas for member in drawn)
    calls = max(math.ceil(classes / (matching.classes_per_call or classes)), min(replicas, classes))
    trains = schedule.training != "none" and step + 1 < schedule.steps
    distils = matching.mutual_distillation and len(drawn) > 1
    batches = {
        "none": 0,
        "synthetic": schedule.inner_epochs * len(batch_slices(synthetic_images or classes, schedule.batch)),
        "real": len(batch_slices(min(schedule.real_images, train_images), schedule.batch)),
    }
    return StepPlan(
        iteration=iteration,
        step=step,
        version=version,
        members=drawn,
        chunks=_chunks(classes, calls, replicas, shards),
        chooser=drawn[turn % len(drawn)] if matching.sampler == "kmeans" and due == 0 else None,
        trains=trains,
        training_batches=batches[schedule.training] if trains else 0,
        aligner_batches=len(batch_slices(min(matching.aligner_images, train_images), schedule.batch)) if distils else 0,
        probes=distils and (version + 1) % matching.probe_every == 0,  # not in the first step, which it would delay
    )


def class_parts(classes: int, shards: int) -> list[tuple[int, ...]]:
    """The classes of each shard of the parameter server, in order; no more parts than classes."""
    return [tuple(part.tolist()) for part in np.array_split(np.arange(classes), min(shards, classes))]


def _chunks(classes: int, calls: int, replicas: int, shards: int) -> tuple[tuple[int, ...], ...]:
    """At least ``calls`` chunks of neighbouring classes, each within one shard, the shards in turn.

    If there are enough classes, every replica and every shard gets the same number of chunks.
    """
    parts = class_parts(classes, shards)
    rounds = replicas // math.gcd(replicas, len(parts))
    each = math.ceil(calls / (len(parts) * rounds)) * rounds
    of_part = [np.array_split(part, min(each, len(part))) for part in parts]
    return tuple(tuple(chunk.tolist()) for turn in zip_longest(*of_part) for chunk in turn if chunk is not None)
