"""Measures the pool in this process: workers and server one after the other, as one thread does all
of their work."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from hmdc_ray.actors.local import LocalPool
from hmdc_ray.actors.worker import PoolWorker
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import apply_overrides
from hmdc_ray.data.cache import cache_folder
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.evaluation.device import torch_threads
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.models.plain import plain_layers
from hmdc_ray.profiling.operations import Count, Operations
from hmdc_ray.profiling.process import process_use
from hmdc_ray.profiling.rates import bandwidth, has_bfloat16_units, matrix_rate
from hmdc_ray.profiling.steps import ONE_PROCESS, WARM_UP, Measurement, Report, StepTimes, run_steps, worker_phases, workers_of
from hmdc_ray.profiling.targets import Targets, targets
from hmdc_ray.profiling.traffic import SERVER, CountedPool
from hmdc_ray.system.memory import keep_freed_memory


@dataclass(frozen=True)
class OneProcess:
    """The measured steps.

    Attributes:
        measurement: times of the steps.
        traffic: bytes per step that would move, by receiving process and call, mean of the measured
            steps.
        rates: floating point operations per second of a matrix product, measured before, between
            and after all steps.
        targets: gradients of the first step.
    """

    measurement: Measurement
    traffic: Mapping[tuple[str, str], float]
    rates: tuple[float, ...]
    targets: Targets


@dataclass(frozen=True)
class PlainStep:
    """The first step, computed with torch's own layers.

    Attributes:
        seconds: wall-clock time of the second step, whose operators are not counted.
        targets: gradients of the first one.
        counts: operations of the first step, by operator, with those that begin an iteration, and
            k-means if the run uses it.
        rate: floating point operations per second of a matrix product, measured before.
        bandwidth: bytes per second of a copy, measured before.
    """

    seconds: float
    targets: Targets
    counts: Mapping[str, Count]
    rate: float
    bandwidth: float


@dataclass(frozen=True)
class Bfloat16Steps:
    """Steps with matrix products and convolutions in bfloat16.

    Attributes:
        seconds: wall-clock time of each, after the warm-up.
        rates: floating point operations per second of a matrix product in bfloat16, measured after
            every step.
        targets: gradients of the first step.
    """

    seconds: tuple[float, ...]
    rates: tuple[float, ...]
    targets: Targets


def measure_one_process(config: RunConfig, info: DatasetInfo, steps: int, report: Report) -> OneProcess:
    """Measure a configuration; arguments as those of :func:`hmdc_ray.profiling.measure.measure`."""
    load = os.getloadavg()[0]
    cache = cache_folder(config.data.cache)
    with _pool(config, info) as pool:
        taken: list[StepTimes] = []
        received: list[dict[tuple[str, str], int]] = []
        first: list[Targets] = []
        rates = [matrix_rate(config.threads)]
        before = process_use(None, cache)

        def after_step(record: StepRecord) -> None:
            nonlocal before
            now = process_use(None, cache)
            phases = {**worker_phases(config, record), SERVER: pool.server.clock.take()}
            cpu = {ONE_PROCESS: now.cpu_seconds - before.cpu_seconds}
            taken.append(StepTimes(record.metrics["seconds/step"], phases, cpu))
            received.append(pool.traffic.take())
            first.append(targets(pool.take_results()))
            del first[1:]
            rates.append(matrix_rate(config.threads))
            before = process_use(None, cache)
            report(f"one process: step {len(taken)} of {WARM_UP + steps}, {taken[-1].seconds:.2f} s")

        run_steps(config, info, pool, WARM_UP + steps, after_step)
    measured = received[WARM_UP:]
    calls = dict.fromkeys(key for step in measured for key in step)
    traffic = {key: sum(step.get(key, 0) for step in measured) / len(measured) for key in calls}
    measurement = Measurement(tuple(taken[WARM_UP:]), load, {ONE_PROCESS: before})
    return OneProcess(measurement, traffic, tuple(rates), first[0])


def measure_plain(config: RunConfig, info: DatasetInfo, report: Report) -> PlainStep:
    """Count and measure the first step with torch's own layers."""
    rate, copied = matrix_rate(config.threads), bandwidth(config.threads)
    operations = Operations(rate, copied)
    seconds: list[float] = []
    first: list[Targets] = []
    with plain_layers(), _pool(config, info) as pool, ExitStack() as counting:

        def after_step(record: StepRecord) -> None:
            counting.close()
            seconds.append(record.metrics["seconds/step"])
            first.append(targets(pool.take_results()))
            report(f"one process, torch's own layers: step {len(seconds)} of 2, {seconds[-1]:.2f} s")

        counting.enter_context(operations)
        run_steps(config, info, pool, 2, after_step)
    return PlainStep(seconds[1], first[0], dict(operations.counts), rate, copied)


def measure_bfloat16(config: RunConfig, info: DatasetInfo, steps: int, report: Report) -> Bfloat16Steps:
    """Measure steps in bfloat16, one where the processor has no units for it and is slow; arguments
    as those of :func:`measure_one_process`."""
    config = apply_overrides(config, ["matching.precision=bfloat16"])
    steps = WARM_UP + (steps if has_bfloat16_units() else 1)
    seconds: list[float] = []
    rates: list[float] = []
    first: list[Targets] = []
    with _pool(config, info) as pool:

        def after_step(record: StepRecord) -> None:
            seconds.append(record.metrics["seconds/step"])
            rates.append(matrix_rate(config.threads, torch.bfloat16))
            first.append(targets(pool.take_results()))
            del first[1:]
            report(f"one process, bfloat16: step {len(seconds)} of {steps}, {seconds[-1]:.2f} s")

        run_steps(config, info, pool, steps, after_step)
    return Bfloat16Steps(tuple(seconds[WARM_UP:]), tuple(rates), first[0])


def run_first(config: RunConfig, info: DatasetInfo) -> None:
    """Run the first step."""
    with _pool(config, info) as pool:
        run_steps(config, info, pool, 1, lambda record: None)


def measure_kmeans(config: RunConfig, report: Report) -> dict[str, float]:
    """Seconds in which each member, freshly made, chooses the real images of every class, by
    process."""
    plan = StepPlan(0, 0, 0, (), (), None, False, 0)
    found = {}
    keep_freed_memory()
    with torch_threads(config.threads):
        for index, name in enumerate(workers_of(config)):
            member = PoolWorker(index, config).member
            member.begin(0)
            start = time.perf_counter()
            member.choose(plan)
            found[name] = time.perf_counter() - start
            report(f"k-means over all images: {name}, {found[name]:.2f} s")
    return found


@contextmanager
def _pool(config: RunConfig, info: DatasetInfo) -> Iterator[CountedPool]:
    keep_freed_memory()  # as the actors do
    with TemporaryDirectory() as folder, torch_threads(config.threads):
        yield CountedPool(LocalPool(config, info, Path(folder)), workers_of(config))
