"""Measures the same steps twice: with workers and server as actors, and with both in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from hmdc_ray.actors.launch import launch
from hmdc_ray.actors.local import LocalPool
from hmdc_ray.actors.session import fetch, ray_session
from hmdc_ray.config import RunConfig
from hmdc_ray.coordinator import Coordinator, Pool
from hmdc_ray.data.cache import cache_folder
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.evaluation.threads import torch_threads
from hmdc_ray.memory import keep_freed_memory
from hmdc_ray.records import StepRecord
from hmdc_ray.validate import validate
from jobs.bench.configuration import WARM_UP
from jobs.bench.process import ProcessUse, process_use
from jobs.bench.traffic import DRIVER, SERVER, CountedPool

ONE_PROCESS = "one process"

Report = Callable[[str], None]
"""Is told the course in one line."""


def worker_process(member: str) -> str:
    """Name of a member's process."""
    return f"worker {member}"


@dataclass(frozen=True)
class StepTimes:
    """One step.

    Attributes:
        seconds: wall-clock time of the step.
        phases: per process, seconds of its work by phase: those of a worker as its records say, those of the server by call,
            known where it ran in this process.
        cpu_seconds: per process, its processor time in the step.
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
        steps: after the warm-up.
        load: processes that wanted to run on this machine in the minute before.
        processes: what each process used up to the end.
    """

    steps: tuple[StepTimes, ...]
    load: float
    processes: Mapping[str, ProcessUse]

    @property
    def seconds(self) -> float:
        """Median seconds of a step."""
        return median(step.seconds for step in self.steps)


@dataclass(frozen=True)
class Bench:
    """Both measurements.

    Attributes:
        config: the run.
        info: of its data.
        actors: the pool as actors.
        one_process: the same pool in one process.
        traffic: bytes per step, by receiving process and call, mean of the measured steps.
    """

    config: RunConfig
    info: DatasetInfo
    actors: Measurement
    one_process: Measurement
    traffic: Mapping[tuple[str, str], float]

    @property
    def workers(self) -> tuple[str, ...]:
        """Names of the members' processes, in the order of the pool."""
        return _workers(self.config)

    @property
    def ratio(self) -> float:
        """How many times as fast a step is with actors."""
        return self.one_process.seconds / self.actors.seconds


def measure(config: RunConfig, steps: int, report: Report) -> Bench:
    """Measure a configuration; see :func:`jobs.bench.configuration.bench_config`.

    Args:
        config: the run; its schedule is longer than the warm-up and the measured steps.
        steps: measured in each way.
        report: told of every step.

    Raises:
        InputError: configuration and data do not fit together.
    """
    report("reading data")
    info = open_dataset(config.data).info
    validate(config, info)
    # The actors first: the peak memory of this process is then the driver's.
    actors = _measure_actors(config, info, steps, report)
    one_process, traffic = measure_one_process(config, info, steps, report)
    return Bench(config, info, actors, one_process, traffic)


def _measure_actors(config: RunConfig, info: DatasetInfo, steps: int, report: Report) -> Measurement:
    load = os.getloadavg()[0]
    cache = cache_folder(config.data.cache)
    report("starting the actors")
    with TemporaryDirectory() as folder, ray_session(), launch(config, info, Path(folder), lambda: None) as pool:
        actors = [*(worker.actor for member in pool.workers for worker in member.workers), pool.server.actor]

        def use() -> dict[str, ProcessUse]:
            inside = fetch([actor.__ray_call__.remote(process_use, cache) for actor in actors])
            return {DRIVER: process_use(None, cache), **dict(zip([*_workers(config), SERVER], inside, strict=True))}

        taken: list[StepTimes] = []
        before = use()

        def after_step(record: StepRecord) -> None:
            nonlocal before
            now = use()
            cpu = {process: now[process].cpu_seconds - before[process].cpu_seconds for process in now}
            taken.append(StepTimes(record.metrics["seconds/step"], _worker_phases(config, record), cpu))
            before = now
            report(f"actors: step {len(taken)} of {WARM_UP + steps}, {taken[-1].seconds:.2f} s")

        _run(config, info, pool, WARM_UP + steps, after_step)
    return Measurement(tuple(taken[WARM_UP:]), load, before)


def measure_one_process(
    config: RunConfig, info: DatasetInfo, steps: int, report: Report
) -> tuple[Measurement, dict[tuple[str, str], float]]:
    """Measure workers and server in this process, one after the other; also the bytes that would move, see :class:`Bench`."""
    load = os.getloadavg()[0]
    cache = cache_folder(config.data.cache)
    keep_freed_memory()  # as the actors do
    with TemporaryDirectory() as folder, torch_threads(config.cluster.threads):
        pool = CountedPool(LocalPool(config, info, Path(folder)), _workers(config))
        taken: list[StepTimes] = []
        received: list[dict[tuple[str, str], int]] = []
        before = process_use(None, cache)

        def after_step(record: StepRecord) -> None:
            nonlocal before
            now = process_use(None, cache)
            phases = {**_worker_phases(config, record), SERVER: pool.server.clock.take()}
            cpu = {ONE_PROCESS: now.cpu_seconds - before.cpu_seconds}
            taken.append(StepTimes(record.metrics["seconds/step"], phases, cpu))
            received.append(pool.traffic.take())
            before = now
            report(f"one process: step {len(taken)} of {WARM_UP + steps}, {taken[-1].seconds:.2f} s")

        _run(config, info, pool, WARM_UP + steps, after_step)
    measured = received[WARM_UP:]
    calls = dict.fromkeys(key for step in measured for key in step)
    traffic = {key: sum(step.get(key, 0) for step in measured) / len(measured) for key in calls}
    return Measurement(tuple(taken[WARM_UP:]), load, {ONE_PROCESS: before}), traffic


class _Enough(Exception):  # noqa: N818  # not an error
    """Every step that was wanted is measured."""


def _run(config: RunConfig, info: DatasetInfo, pool: Pool, steps: int, after_step: Callable[[StepRecord], None]) -> None:
    coordinator = Coordinator(config, pool, classes=len(info.class_names), train_images=info.sizes["train"])

    def count(record: StepRecord) -> None:
        after_step(record)
        if record.plan.version + 1 == steps:
            raise _Enough

    try:
        coordinator.run(0, count)
    except _Enough:
        return


def _workers(config: RunConfig) -> tuple[str, ...]:
    return tuple(worker_process(member.name) for member in config.pool.members)


def _worker_phases(config: RunConfig, record: StepRecord) -> dict[str, dict[str, float]]:
    """Seconds by member and phase, of which a record holds ``seconds/<member>_<phase>``."""
    phases: dict[str, dict[str, float]] = {name: {} for name in _workers(config)}
    # A name may begin another one: the longest that fits is meant.
    names = sorted((member.name for member in config.pool.members), key=len, reverse=True)
    for metric, seconds in record.metrics.items():
        name = next((name for name in names if metric.startswith(f"seconds/{name}_")), None)
        if name is not None:
            phases[worker_process(name)][metric.removeprefix(f"seconds/{name}_")] = seconds
    return phases
