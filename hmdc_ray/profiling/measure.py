"""Measures the same steps twice: with workers and server as actors, and with both in this
process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hmdc_ray.actors.launch import launch
from hmdc_ray.actors.nodes import find_resources
from hmdc_ray.actors.session import fetch, ray_session
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import apply_overrides
from hmdc_ray.data.cache import cache_folder
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.exchange.resources import Resources
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.profiling.floor import Floor
from hmdc_ray.profiling.one_process import (
    Bfloat16Steps,
    OneProcess,
    measure_bfloat16,
    measure_kmeans,
    measure_one_process,
    measure_plain,
)
from hmdc_ray.profiling.process import ProcessUse, process_use
from hmdc_ray.profiling.steps import WARM_UP, Measurement, Report, StepTimes, run_steps, sized, worker_phases, workers_of
from hmdc_ray.profiling.targets import Agreement, compare
from hmdc_ray.profiling.traffic import DRIVER, SERVER
from hmdc_ray.run.validate import validate


@dataclass(frozen=True)
class Bench:
    """Both measurements.

    Attributes:
        config: the run.
        info: description of its data.
        gpus: number of GPUs of each worker.
        actors: measurement of the pool as actors.
        alone: measurement of the same pool in one process.
    """

    config: RunConfig
    info: DatasetInfo
    gpus: tuple[float, ...]
    actors: Measurement
    alone: OneProcess

    @property
    def one_process(self) -> Measurement:
        """The steps of one process."""
        return self.alone.measurement

    @property
    def traffic(self) -> Mapping[tuple[str, str], float]:
        """Bytes per step, by receiving process and call, mean of the measured steps."""
        return self.alone.traffic

    @property
    def workers(self) -> tuple[str, ...]:
        """Names of the members' processes, in the order of the pool."""
        return workers_of(self.config)

    @property
    def ratio(self) -> float:
        """How many times as fast a step is with actors."""
        return self.one_process.seconds / self.actors.seconds


def measure(config: RunConfig, steps: int, report: Report) -> Bench:
    """Measure a configuration with one process of the server; see
    :func:`benchmarks.bench.configuration.bench_config`.

    Args:
        config: the run; its schedule is longer than the warm-up and the measured steps.
        steps: number of steps measured in each way.
        report: callback that gets a line for every step.

    Raises:
        InputError: configuration and data do not fit together.
    """
    report("reading data")
    config = apply_overrides(config, ["cluster.server_shards=1"])
    info = open_dataset(config.data).info
    validate(config, info)
    # The actors first: the peak memory of this process is then the driver's.
    resources, actors = _measure_actors(config, info, steps, report)
    config = resources.config
    return Bench(config, info, resources.gpus, actors, measure_one_process(config, info, steps, report))


@dataclass(frozen=True)
class AgainstPlain:
    """The steps of one process beside what they are compared with.

    Attributes:
        floor: floor of a step.
        agreement: agreement of the first step's gradients with those of torch's own layers, by
            target.
        bfloat16: steps in bfloat16.
        bfloat16_agreement: agreement of the gradients of these, likewise.
        kmeans: seconds in which each member chooses the real images of every class, by process.
    """

    floor: Floor
    agreement: Mapping[str, Agreement]
    bfloat16: Bfloat16Steps
    bfloat16_agreement: Mapping[str, Agreement]
    kmeans: Mapping[str, float]


def measure_against_plain(bench: Bench, report: Report) -> AgainstPlain:
    """Measure what one process' steps are compared with, in the same run, because machines are
    shared."""
    plain = measure_plain(bench.config, bench.info, report)
    floor = Floor(plain.counts, plain.seconds, (*bench.alone.rates, plain.rate), plain.bandwidth)
    bfloat16 = measure_bfloat16(bench.config, bench.info, len(bench.one_process.steps), report)
    return AgainstPlain(
        floor=floor,
        agreement=compare(bench.alone.targets, plain.targets),
        bfloat16=bfloat16,
        bfloat16_agreement=compare(bfloat16.targets, plain.targets),
        kmeans=measure_kmeans(bench.config, report),
    )


def _measure_actors(config: RunConfig, info: DatasetInfo, steps: int, report: Report) -> tuple[Resources, Measurement]:
    """Also what the pool had, with the classes of a call as they were chosen where the
    configuration says nothing."""
    load = os.getloadavg()[0]
    cache = cache_folder(config.data.cache)
    report("starting the actors")
    with TemporaryDirectory() as folder, ray_session(), ExitStack() as started:
        resources = find_resources(config)
        report(resources.line)
        config, pool = resources.config, started.enter_context(launch(resources, info, Path(folder), lambda: None))
        (server,) = pool.server.processes
        actors = [*(actor for member in pool.workers for actor in member.processes), server]

        def use() -> dict[str, ProcessUse]:
            inside = fetch([actor.__ray_call__.remote(process_use, cache) for actor in actors])
            return {DRIVER: process_use(None, cache), **dict(zip([*workers_of(config), SERVER], inside, strict=True))}

        taken: list[StepTimes] = []
        before = use()

        def after_step(record: StepRecord) -> None:
            nonlocal before
            now = use()
            cpu = {process: now[process].cpu_seconds - before[process].cpu_seconds for process in now}
            taken.append(StepTimes(record.metrics["seconds/step"], worker_phases(config, record), cpu))
            before = now
            report(f"actors: step {len(taken)} of {WARM_UP + steps}, {taken[-1].seconds:.2f} s")

        config = sized(config, info, pool, report)
        run_steps(config, info, pool, WARM_UP + steps, after_step)
    return replace(resources, config=config), Measurement(tuple(taken[WARM_UP:]), load, before)
