from __future__ import annotations

from typing import Any

import pytest

from hmdc_ray.config import MatchingConfig, ScheduleConfig
from hmdc_ray.schedule import StepPlan, plan_step, total_steps


def plan(
    version: int, schedule: dict[str, Any] | None = None, matching: dict[str, Any] | None = None, **fields: int
) -> StepPlan:
    sizes = {"members": 3, "classes": 5, "train_images": 1000} | fields
    return plan_step(
        ScheduleConfig(**{"iterations": 4, "steps": 25, **(schedule or {})}),
        MatchingConfig(**(matching or {})),
        version=version,
        **sizes,
    )


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
    ("real_images", "train_images", "batches"), [(200, 1000, 2), (201, 1000, 3), (2000, 1000, 10), (1, 1000, 1), (2000, 99, 1)]
)
def test_real_batches_cover_the_images_that_there_are(real_images: int, train_images: int, batches: int) -> None:
    schedule = {"training": "real", "real_images": real_images, "batch": 100}
    assert plan(0, schedule, train_images=train_images).training_batches == batches
    assert plan(24, schedule, train_images=train_images).training_batches == 0
    assert plan(0, schedule | {"training": "synthetic"}, train_images=train_images).training_batches == 0
