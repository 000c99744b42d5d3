"""What each worker of Ray Train runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import ray
import ray.train
import ray.train.torch

from hmdc_ray.actors.session import import_from
from hmdc_ray.errors import RunError
from hmdc_ray.models.precision import set_gpu_format
from hmdc_ray.pretrain.batches import Group
from hmdc_ray.pretrain.plan import Plan
from hmdc_ray.pretrain.train_networks import Course
from hmdc_ray.system.memory import keep_freed_memory


class Board:
    """Shared state of driver and first worker: the progress, and the request to stop. A plain
    class, made an actor."""

    def __init__(self) -> None:
        self._position: tuple[str, int, int] | None = None
        self._stop = False

    def epoch_done(self, name: str, epoch: int, epochs: int) -> bool:
        """Record an epoch; returns whether to stop."""
        self._position = name, epoch, epochs
        return self._stop

    def look(self, stop: bool) -> tuple[str, int, int] | None:
        """The last epoch recorded: network, epochs done, epochs in all. ``stop`` is passed on to
        the workers."""
        self._stop = self._stop or stop
        return self._position


class Task(TypedDict):
    """The configuration of :func:`train`."""

    plan: Plan
    board: Any  # handle of a Board
    folder: str  # the driver's working directory, where the user's own networks may be


def train(task: dict[str, Any]) -> RunError | None:
    """Train a plan's networks in this worker of a group, from the group's last checkpoint if there
    is one.

    Args:
        task: configuration, a :class:`Task`.

    Returns:
        The error for which the training cannot be finished, the same in every worker; Ray Train
        would retry a raised one.

    Raises:
        InputError: data or a network cannot be had on this node.
    """
    import_from(task["folder"])
    context = ray.train.get_context()
    group = Group(context.get_world_rank(), context.get_world_size())
    checkpoint = ray.train.get_checkpoint()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="hmdc-")))
        start = None if checkpoint is None else Path(stack.enter_context(checkpoint.as_directory()))
        outside = _RayTrain(task["board"], group)
        keep_freed_memory()
        plan = task["plan"]
        if plan.precision is not None:
            set_gpu_format(plan.precision)
        course = Course(plan, group, ray.train.torch.get_device(), outside, scratch)
        try:
            course.run(start)
        except RunError as error:
            return error
    return None


class _RayTrain:
    """Ray Train around a worker; see :class:`hmdc_ray.pretrain.train_networks.Outside`."""

    def __init__(self, board: Any, group: Group) -> None:
        self._board = board
        self._group = group

    def checkpoint(self, write: Callable[[Path], None]) -> None:
        with TemporaryDirectory(prefix="hmdc-") as folder:
            if self._group.worker > 0:
                ray.train.report({})
                return
            write(Path(folder))
            ray.train.report({}, checkpoint=ray.train.Checkpoint.from_directory(folder))

    def epoch_done(self, name: str, epoch: int, epochs: int) -> bool:
        stop: bool = ray.get(self._board.epoch_done.remote(name, epoch, epochs))
        return stop
