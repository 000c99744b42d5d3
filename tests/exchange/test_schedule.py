from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from hmdc_ray.config import MatchingConfig, PoolConfig, RunConfig, ScheduleConfig
from hmdc_ray.exchange.schedule import StepPlan, balance_notes, class_parts, draw_members, plan_step, total_steps


def plan(
    version: int,
    schedule: dict[str, Any] | None = None,
    matching: dict[str, Any] | None = None,
    members: int = 3,
    train_images: int = 1000,
    shards: int = 1,
    synthetic_images: int | None = None,
) -> StepPlan:
    return plan_step(
        ScheduleConfig(**{"iterations": 4, "steps": 25, **(schedule or {})}),
        MatchingConfig(**(matching or {})),
        pool(*[None] * members),
        seed=0,
        classes=5,
        train_images=train_images,
        version=version,
        shards=shards,
        synthetic_images=synthetic_images,
    )


def pool(*probabilities: float | None, **fields: Any) -> PoolConfig:
    members = [
        {"name": f"m{index}", "architecture": "convnet", "probability": value} for index, value in enumerate(probabilities)
    ]
    return PoolConfig.model_validate({"members": members, **fields})


def test_versions_count_through_iterations_and_steps() -> None:
    schedule = ScheduleConfig(iterations=3, steps=2)
    plans = [plan(version, {"iterations": 3, "steps": 2}) for version in range(total_steps(schedule))]
    assert [(p.iteration, p.step) for p in plans] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert [p.version for p in plans] == list(range(6))


def test_all_members_take_part_in_the_order_of_the_pool() -> None:
    assert plan(0).members == (0, 1, 2)
    assert plan(0, members=1).members == (0,)


@pytest.mark.parametrize(
    ("width", "chunks"),
    [
        (None, ((0, 1, 2, 3, 4),)),
        (1, ((0,), (1,), (2,), (3,), (4,))),
        (2, ((0, 1), (2, 3), (4,))),
        (9, ((0, 1, 2, 3, 4),)),
    ],
)
def test_chunks_cover_every_class_once_in_order(width: int | None, chunks: tuple[tuple[int, ...], ...]) -> None:
    assert plan(0, matching={"classes_per_call": width}).chunks == chunks


@pytest.mark.parametrize(
    ("shards", "width", "chunks"),
    [
        (2, None, ((0, 1, 2), (3, 4))),
        (2, 1, ((0,), (3,), (1,), (4,), (2,))),
        (3, 2, ((0, 1), (2, 3), (4,))),
        (9, None, ((0,), (1,), (2,), (3,), (4,))),
    ],
)
def test_a_chunk_belongs_to_one_shard_and_the_shards_take_turns(
    shards: int, width: int | None, chunks: tuple[tuple[int, ...], ...]
) -> None:
    assert plan(0, matching={"classes_per_call": width}, shards=shards).chunks == chunks
    parts = class_parts(5, shards)
    assert [label for part in parts for label in part] == list(range(5))
    assert all(any(set(chunk) <= set(part) for part in parts) for chunk in chunks)


def test_kmeans_takes_turns_at_its_period_and_starts_anew_in_every_iteration() -> None:
    matching = {"sampler": "kmeans", "sampler_period": 5}
    choosers = {version: plan(version, matching=matching).chooser for version in range(50)}
    due = {version: member for version, member in choosers.items() if member is not None}
    assert due == {0: 0, 5: 1, 10: 2, 15: 0, 20: 1, 25: 0, 30: 1, 35: 2, 40: 0, 45: 1}


def test_the_random_sampler_needs_no_chooser() -> None:
    assert all(plan(version).chooser is None for version in range(25))


@pytest.mark.parametrize("training", ["synthetic", "real"])
def test_the_last_step_of_an_iteration_trains_nothing(training: str) -> None:
    trains = [plan(version, {"steps": 3, "training": training}).trains for version in range(6)]
    assert trains == [True, True, False, True, True, False]
    assert not plan(0, {"steps": 1, "training": training}).trains


def test_no_training_at_all() -> None:
    assert not any(plan(version, {"training": "none"}).trains for version in range(25))


@pytest.mark.parametrize(
    ("real_images", "train_images", "batches"),
    [
        (200, 1000, 2),
        (201, 1000, 2),
        (202, 1000, 3),
        (2000, 1000, 10),
        (1, 1000, 1),
        (2000, 99, 1),
        (2000, 101, 1),
    ],
)
def test_real_batches_cover_the_images_that_there_are(real_images: int, train_images: int, batches: int) -> None:
    schedule = {"training": "real", "real_images": real_images, "batch": 100}
    assert plan(0, schedule, train_images=train_images).training_batches == batches
    assert plan(24, schedule, train_images=train_images).training_batches == 0


def test_synthetic_batches_cover_the_images_once_an_epoch() -> None:
    schedule = {"training": "synthetic", "batch": 10, "inner_epochs": 3}
    counted = [plan(0, schedule, synthetic_images=images).training_batches for images in (5, 10, 11, 12, 40)]
    assert counted == [3, 3, 3, 6, 12]
    assert plan(24, schedule, synthetic_images=40).training_batches == 0


def test_aligners_are_trained_in_every_step_of_a_pool_that_distils_and_probed_at_a_period() -> None:
    schedule: dict[str, Any] = {"training": "none", "batch": 100}
    distils: dict[str, Any] = {"mutual_distillation": True, "aligner_images": 250, "probe_every": 4}
    two, facts = pool(0.5, 0.5), dict[str, Any](seed=0, classes=2, train_images=1000)
    plans = [
        plan_step(ScheduleConfig(iterations=4, steps=3, **schedule), MatchingConfig(**distils), two, version=version, **facts)
        for version in range(12)
    ]
    assert {found.aligner_batches for found in plans} == {3}
    assert [found.version for found in plans if found.probes] == [3, 7, 11]
    others: list[tuple[dict[str, Any], PoolConfig]] = [({}, two), (distils, pool(0.5, 0.5, active=1)), (distils, pool(1.0))]
    for matching, members in others:
        alone = plan_step(ScheduleConfig(steps=3, **schedule), MatchingConfig(**matching), members, version=3, **facts)
        assert alone.aligner_batches == 0 and not alone.probes


# Draws of members


def test_a_balance_of_the_run_tells_when_the_main_member_comes_late() -> None:
    def notes(scope: str = "run", **fields: Any) -> tuple[str, ...]:
        balance = {"mode": "ema", "scope": scope}
        drawn = pool(0.5, 0.5, active=1, **fields).model_dump()
        settings = {"seed": 3, "pool": drawn, "balance": balance, "schedule": {"iterations": 9}}
        return balance_notes(RunConfig.model_validate(settings))

    first = [draw_members(pool(0.5, 0.5, active=1), 3, iteration) for iteration in range(9)].index((0,))
    assert first > 0
    (note,) = notes(main="m0")
    assert note.startswith(f"the main member 'm0' is drawn in iteration {first} for the first time")
    assert notes(main="m1") == notes(main="m0", warmup=1) == notes("iteration", main="m0") == ()
    never = {"pool": {"members": [
        {"name": "a", "architecture": "convnet", "probability": 0.0}, {"name": "b", "architecture": "mlp", "probability": 1.0},
    ], "active": 1}, "balance": {"mode": "ema", "scope": "run"}}  # fmt: skip
    assert "'a' is never drawn" in balance_notes(RunConfig.model_validate(never))[0]


def test_members_are_drawn_at_their_probabilities() -> None:
    probabilities = (0.7, 0.2, 0.1, 0.0)
    counts = np.zeros(4)
    for iteration in range(2000):
        (member,) = draw_members(pool(*probabilities, active=1), 0, iteration)
        counts[member] += 1
    assert counts[3] == 0
    assert chisquare(counts[:3], 2000 * np.array(probabilities[:3])).pvalue > 0.01


def test_several_members_are_drawn_without_replacement() -> None:
    """Two of three, one after the other: the chance of a pair is the sum over its two orders."""
    p = np.array([0.6, 0.3, 0.1])
    pairs = {(0, 1): 0, (0, 2): 0, (1, 2): 0}
    for iteration in range(2000):
        pairs[draw_members(pool(*p, active=2), 1, iteration)] += 1  # type: ignore[index]
    expected = [p[a] * p[b] / (1 - p[a]) + p[b] * p[a] / (1 - p[b]) for a, b in pairs]
    assert chisquare(list(pairs.values()), 2000 * np.array(expected)).pvalue > 0.01


def test_draws_depend_on_seed_and_iteration_alone() -> None:
    half = pool(0.5, 0.5, active=1)
    draws = [draw_members(half, 3, iteration) for iteration in range(64)]
    assert draws == [draw_members(half, 3, iteration) for iteration in range(64)]
    assert draws != [draw_members(half, 4, iteration) for iteration in range(64)]
    assert len(set(draws)) == 2


def test_the_warmup_is_the_main_member_alone() -> None:
    warm = pool(0.5, 0.5, active=2, main="m1", warmup=3)
    assert [draw_members(warm, 0, iteration) for iteration in range(5)] == [(1,), (1,), (1,), (0, 1), (0, 1)]


def test_all_steps_of_an_iteration_have_the_same_members_and_the_chooser_is_one_of_them() -> None:
    matching = MatchingConfig(sampler="kmeans", sampler_period=1)
    plans = [
        plan_step(
            ScheduleConfig(iterations=20, steps=4), matching, pool(0.4, 0.3, 0.3, active=2), seed=0, classes=2,
            train_images=9, version=version,
        )
        for version in range(80)
    ]  # fmt: skip
    for first in range(0, 80, 4):
        members = plans[first].members
        assert all(plan.members == members for plan in plans[first : first + 4])
        assert [plan.chooser for plan in plans[first : first + 4]] == [*members, *members]
