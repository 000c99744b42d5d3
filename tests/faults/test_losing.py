"""A member that is lost, and whose resources another has taken: the run stops, waits, or goes on
without it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray
from whole_runs import tiniest

from faults.chaos import undisturbed
from faults.losing import Course, run_losing_a_member
from hmdc_ray.actors.pool import RayPool
from hmdc_ray.actors.session import remote
from hmdc_ray.config import RunConfig
from hmdc_ray.server.checkpoint import CheckpointFolder

LANES = 3
"""All that there are, so that the member's place is gone when another has taken it."""

AFTER = 4
"""Steps before the loss, of six."""

PATIENCE = 0.5
"""Seconds for which a member may lack its place; nothing else is started meanwhile."""

AWAY = 4.0
"""Seconds for which the place is taken where the run waits for it."""


class Thief:
    """Takes the resources of a member when its process ends."""

    def __init__(self) -> None:
        self.actor: Any = None

    def __call__(self, pool: RayPool) -> None:
        class Taker:
            def ready(self) -> bool:
                return True

        self.actor = remote(Taker).options(num_cpus=0, resources={"lane": LANES}).remote()
        call = self.actor.ready.remote()
        ray.kill(pool.workers[1].processes[0])
        assert ray.get(call, timeout=60)

    def leave(self) -> None:
        if self.actor is not None:
            ray.kill(self.actor)


def losing_config(folder: Path, policy: str) -> RunConfig:
    convnet = {"architecture": "convnet", "options": {"width": 8, "depth": 2}}
    members = [convnet, {"architecture": "lenet", "resources": {"lane": LANES}}]
    cluster = {"cut_every": 2, "start_timeout": 400, "when_lost": policy}
    return tiniest(folder, pool={"members": members}, cluster=cluster)


@contextmanager
def thief() -> Iterator[Thief]:
    made = Thief()
    try:
        yield made
    finally:
        made.leave()


def course_of(config: RunConfig, folder: Path) -> Course:
    with thief() as taker:
        return run_losing_a_member(config, folder, AFTER, taker, PATIENCE)


def test_a_run_that_stops_keeps_its_checkpoint_and_says_what_is_missing(ray_local: None, tmp_path: Path) -> None:
    config = losing_config(tmp_path, "stop")
    course = course_of(config, tmp_path / "run")
    assert "'lenet' (1 of 2 workers) did not start within" in course.problem
    assert f"'lane': {LANES}" in course.problem and f"0 of {LANES} lane" in course.problem
    assert "add resources, or do without it (cluster.when_lost=continue)" in course.problem
    assert "\n" not in course.problem
    folder = CheckpointFolder.of_run(tmp_path / "run", config.schedule)
    assert folder.load(AFTER)["server"].values["version"] == AFTER


def test_a_run_that_goes_on_without_the_member_says_so(ray_local: None, tmp_path: Path) -> None:
    course = course_of(losing_config(tmp_path, "continue"), tmp_path / "run")
    assert course.problem == ""
    (left,) = [fields for kind, fields in course.events if kind == "left_out"]
    assert left["member"] == "lenet"
    assert course.kinds().index("fault") < course.kinds().index("left_out") < course.kinds().index("recovered")
    assert [course.drawn[version] for version in range(6)] == [(0, 1)] * 3 + [(0,)] * 3  # from the last cut on
    assert np.isfinite(course.images).all()


def test_a_run_that_waits_goes_on_to_the_same_pixels(ray_local: None, tmp_path: Path) -> None:
    config = losing_config(tmp_path, "wait")
    with thief() as taker:
        timer = threading.Timer(AWAY, taker.leave)

        def lose(pool: RayPool) -> None:
            taker(pool)
            timer.start()

        course = run_losing_a_member(config, tmp_path / "run", AFTER, lose, PATIENCE)
        timer.join()
    assert course.problem == ""
    assert "left_out" not in course.kinds()
    (recovered,) = [fields for kind, fields in course.events if kind == "recovered"]
    assert recovered["seconds"] > AWAY / 2 > PATIENCE
    np.testing.assert_array_equal(course.images, undisturbed(config, tmp_path / "peace"))
