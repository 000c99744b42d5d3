"""What tracking costs a run whose MLflow server is slow: iterations with and without it, in turn,
in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.bench.slow_server import slow_server
from hmdc_ray.actors.launch import launch
from hmdc_ray.actors.nodes import find_resources
from hmdc_ray.actors.session import ray_session
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import RunConfig, TrackingConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.figures.image_grid import grid_array
from hmdc_ray.run.coordinator import Coordinator
from hmdc_ray.tracking import Recorder, Sender

DELAY = 1.0
"""Seconds that the server takes to answer each call."""


@dataclass(frozen=True)
class TrackingCost:
    """Seconds of iterations of the same run.

    Attributes:
        delay: seconds that the server takes to answer each call.
        steps: number of steps in an iteration.
        tracked: seconds of iterations whose every step was tracked, and one picture.
        untracked: seconds of the iterations in between.
    """

    delay: float
    steps: int
    tracked: tuple[float, ...]
    untracked: tuple[float, ...]

    @property
    def slowdown(self) -> float:
        """Part of its time by which an iteration takes longer when it is tracked: median of
        neighbouring pairs."""
        pairs = zip(self.tracked, self.untracked, strict=True)
        return median(tracked / untracked for tracked, untracked in pairs) - 1


def measure_tracking(config: RunConfig, pairs: int, report: Callable[[str], None], delay: float = DELAY) -> TrackingCost:
    """Run iterations with and without tracking in turn, and time each.

    Args:
        config: the run; one iteration is left out to warm up, then they are untracked and tracked
            in turn.
        pairs: number of pairs of iterations.
        report: callback that gets lines on the progress.
        delay: seconds that the server takes to answer each call.
    """
    report(f"tracking: a server that answers after {delay:g} s")
    schedule = config.schedule.model_copy(update={"iterations": 1 + 2 * pairs})
    config = config.model_copy(update={"schedule": schedule})
    info = open_dataset(config.data).info
    with (
        TemporaryDirectory() as folder,
        slow_server(delay) as uri,
        ray_session(),
        launch(find_resources(config), info, Path(folder) / "run", lambda: None) as pool,
    ):
        seconds: list[float] = []
        tracking = Recorder()
        started = time.perf_counter()

        def after_step(record: StepRecord) -> None:
            nonlocal tracking, started
            tracking.metrics(record.plan.version + 1, record.metrics)
            if record.plan.step + 1 < schedule.steps:
                return
            (snapshot,) = pool.get([record.snapshot])
            condensed = CondensedSet.learned(snapshot.images_KICHW, info, config)
            tracking.image("images/condensed", grid_array(condensed), record.plan.version + 1)
            seconds.append(time.perf_counter() - started)
            tracking.finish("FINISHED")
            number = record.plan.iteration + 1
            tracking = Recorder()
            if number % 2 == 0 and number <= 2 * pairs:
                track = TrackingConfig(uri=uri, experiment="bench")
                sender = Sender.of_run(track, "bench", Path(folder) / f"tracked-{number}", {})
                sender.open()
                tracking = Recorder(sender)
            started = time.perf_counter()

        coordinator = Coordinator(config, pool, classes=len(info.class_names), train_images=info.sizes["train"])
        coordinator.run(0, after_step)
    return TrackingCost(delay, schedule.steps, tuple(seconds[2::2]), tuple(seconds[1::2]))
