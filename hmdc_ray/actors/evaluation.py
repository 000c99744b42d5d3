"""Trials of an evaluation as Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray

from hmdc_ray.actors.nodes import largest_node
from hmdc_ray.actors.session import POLL_SECONDS, Ref, fetch, import_from, remote
from hmdc_ray.config import MemberConfig, RunConfig
from hmdc_ray.config.base import AUTO
from hmdc_ray.evaluation.conduct import conduct
from hmdc_ray.evaluation.device import student_threads
from hmdc_ray.evaluation.earlier import Earlier
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.sets import Sets
from hmdc_ray.system.memory import keep_freed_memory


class RayTasks:
    """Runs each function as a Ray task, as many at a time as the cluster has CPUs (or GPUs) for.

    Args:
        config: configuration that sets a task's resources: as many CPUs as a student has threads,
            and its GPUs, both numbers.
        check: called while waiting; may raise to stop.
    """

    def __init__(self, config: RunConfig, check: Callable[[], None]) -> None:
        self._check = check
        self._folder = str(Path.cwd())
        assert config.evaluation.num_gpus != AUTO, "see hmdc_ray.actors.students"
        cpus = min(student_threads(config), largest_node("CPU"))
        self._task = remote(_call).options(num_cpus=cpus, num_gpus=config.evaluation.num_gpus, max_retries=3)

    def put(self, value: Any) -> Ref:
        """Store a value once, for all tasks that take it."""
        return ray.put(value)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Ref:
        """Start a task; references among its arguments are waited for."""
        reference: Ref = self._task.remote(self._folder, function, *arguments)
        return reference

    def completed(self, handles: Sequence[Ref]) -> Iterator[tuple[int, Any]]:
        """Position and value of every task, as tasks end; the rest is cancelled when the caller
        stops early."""
        pending = {reference: position for position, reference in enumerate(handles)}
        try:
            while pending:
                done, _ = ray.wait(list(pending), num_returns=1, timeout=POLL_SECONDS)
                self._check()
                for reference in done:
                    yield pending.pop(reference), fetch([reference])[0]
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)


def _call(folder: str, function: Callable[..., Any], *arguments: Any) -> Any:
    import_from(folder)
    keep_freed_memory()
    return function(*arguments)


def evaluate_on_ray(
    condensed: Sets,
    config: RunConfig,
    *,
    pool: Collection[MemberConfig] | None,
    progress: Callable[[int, int], None],
    check: Callable[[], None],
    earlier: Earlier | None = None,
) -> Evaluation:
    """Train and test all students of ``config.evaluation`` as Ray tasks; see
    :func:`hmdc_ray.evaluation.conduct.conduct`.

    Args:
        condensed: the images to judge.
        config: the data, the evaluation, the seed and the threads.
        pool: members that the first set's images were learned with; None when unknown.
        progress: called with the number of trials done and of all.
        check: called while waiting; may raise to stop.
        earlier: an unfinished record of this evaluation; only what failed in it is repeated.

    Raises:
        InputError: images and data do not fit together, a teacher cannot be built, or ``earlier``
            is another evaluation.
        RunError: a process died.
    """
    return conduct(condensed, config, pool=pool, executor=RayTasks(config, check), progress=progress, earlier=earlier)
