"""A run that loses a member for which there are no resources any more, under each policy of
``cluster.when_lost``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hmdc_ray.actors.launch import launch
from hmdc_ray.actors.pool import RayPool
from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.errors import RunError
from hmdc_ray.exchange.resources import given
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.run.coordinator import Coordinator


@dataclass
class Course:
    """What became of the run.

    Attributes:
        images: after the last step; empty when the run ended before.
        problem: why it ended before.
        events: kind and fields of each, in order.
        drawn: members that took part in each step, by the version that it started from; the last
            time it was done.
    """

    images: np.ndarray = field(default_factory=lambda: np.empty(0))
    problem: str = ""
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    drawn: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def kinds(self) -> list[str]:
        """Kinds of the events."""
        return [kind for kind, _ in self.events]


def run_losing_a_member(
    config: RunConfig, folder: Path, after: int, lose: Callable[[RayPool], None], patience: float
) -> Course:
    """Run, and lose a member after so many steps.

    Args:
        config: the run; it saves checkpoints at its period.
        folder: the run's.
        after: steps before the loss.
        lose: takes the member's process and its resources away.
        patience: ``cluster.start_timeout`` from the loss on, in seconds; until then the
            configuration's.
    """
    info = open_dataset(config.data).info
    course = Course()

    def tell(kind: str, step: int, **fields: Any) -> None:
        course.events.append((kind, fields))

    with launch(given(config), info, folder, check=lambda: None) as pool:
        coordinator = Coordinator(config, pool, classes=len(info.class_names), train_images=info.sizes["train"], tell=tell)
        lost = False

        def after_step(record: StepRecord) -> None:
            nonlocal lost
            version = record.plan.version + 1
            course.drawn[record.plan.version] = record.plan.members
            if version % config.schedule.checkpoint_every == 0:
                coordinator.checkpoint(version)
            if version == after and not lost:
                lost = True
                shorter = config.cluster.model_copy(update={"start_timeout": patience})
                pool._config = config.model_copy(update={"cluster": shorter})
                lose(pool)

        try:
            course.images = coordinator.run(0, after_step).images_KICHW
        except RunError as error:
            course.problem = str(error)
    return course
