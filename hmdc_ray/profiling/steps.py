"""Steps of a pool, and what is kept of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import apply_overrides
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.exchange.call_size import call_size, with_call_size
from hmdc_ray.exchange.protocols import Pool
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.profiling.process import ProcessUse
from hmdc_ray.run.coordinator import Coordinator

if TYPE_CHECKING:
    from hmdc_ray.actors.pool import RayPool

ONE_PROCESS = "one process"

WARM_UP = 1
"""Steps that are not measured: the first one loads kernels and the data's pages."""

Report = Callable[[str], None]
"""Callback that gets a line on the progress."""


def worker_process(member: str) -> str:
    """Name of a member's process."""
    return f"worker {member}"


@dataclass(frozen=True)
class StepTimes:
    """One step.

    Attributes:
        seconds: wall-clock time of the step.
        phases: seconds of work by process and phase: those of a worker as its records say, those of
            the server by call, known where it ran in this process.
        cpu_seconds: processor time in the step, by process.
    """

    seconds: float
    phases: Mapping[str, Mapping[str, float]]
    cpu_seconds: Mapping[str, float]

    def busy(self, process: str) -> float:
        """Seconds of a process' work."""
        return sum(self.phases.get(process, {}).values())

    def outside(self, workers: Sequence[str]) -> float:
        """Part of the step, 0 to 1, in which the busiest of the workers was not computing."""
        return 1 - max(map(self.busy, workers)) / self.seconds


@dataclass(frozen=True)
class Measurement:
    """The measured steps of one way to run the pool.

    Attributes:
        steps: measured steps, after the warm-up.
        load: number of processes that wanted to run on this machine in the minute before.
        processes: resources that each process used up to the end.
    """

    steps: tuple[StepTimes, ...]
    load: float
    processes: Mapping[str, ProcessUse]

    @property
    def seconds(self) -> float:
        """Median seconds of a step."""
        return median(step.seconds for step in self.steps)


class _Enough(Exception):  # noqa: N818  # not an error
    """Every step that was wanted is measured."""


def with_length(config: RunConfig, steps: int) -> RunConfig:
    """The run with one iteration that is long enough for the warm-up and ``steps`` measured
    steps."""
    return apply_overrides(config, ["schedule.iterations=1", f"schedule.steps={WARM_UP + steps + 1}"])


def sized(config: RunConfig, info: DatasetInfo, pool: RayPool, report: Report) -> RunConfig:
    """The run with the classes of a call: as configured, or as many as the memory of the workers
    admits, which is reported."""
    if config.matching.classes_per_call is not None:
        return config
    size = call_size(config, pool.measure(), len(info.class_names))
    report(size.describe())
    if not size.fits:
        report(size.shortage())
    return with_call_size(config, size)


def run_steps(config: RunConfig, info: DatasetInfo, pool: Pool, steps: int, after_step: Callable[[StepRecord], None]) -> None:
    """Run the first ``steps`` steps of a run that has at least one more."""
    coordinator = Coordinator(config, pool, classes=len(info.class_names), train_images=info.sizes["train"])

    def count(record: StepRecord) -> None:
        after_step(record)
        if record.plan.version + 1 == steps:
            raise _Enough

    try:
        coordinator.run(0, count)
    except _Enough:
        return


def workers_of(config: RunConfig) -> tuple[str, ...]:
    """Names of the members' processes, in the order of the pool."""
    return tuple(worker_process(member.name) for member in config.pool.members)


def worker_phases(config: RunConfig, record: StepRecord) -> dict[str, dict[str, float]]:
    """Seconds by member and phase, which a record holds as ``seconds/<member>_<phase>``."""
    phases: dict[str, dict[str, float]] = {name: {} for name in workers_of(config)}
    # A name may begin another one: the longest that fits is meant.
    names = sorted((member.name for member in config.pool.members), key=len, reverse=True)
    for metric, seconds in record.metrics.items():
        name = next((name for name in names if metric.startswith(f"seconds/{name}_")), None)
        if name is not None:
            phases[worker_process(name)][metric.removeprefix(f"seconds/{name}_")] = seconds
    return phases
