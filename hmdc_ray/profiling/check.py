"""A pool of another size, run on this machine, to compare with a prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from hmdc_ray.actors.launch import launch
from hmdc_ray.actors.nodes import find_resources
from hmdc_ray.actors.pool import RayPool
from hmdc_ray.actors.session import fetch, ray_session
from hmdc_ray.config import RunConfig
from hmdc_ray.data.cache import cache_folder
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.profiling.process import ProcessUse, process_use
from hmdc_ray.profiling.steps import WARM_UP, Report, run_steps, sized, with_length


@dataclass(frozen=True)
class Checked:
    """What the pool took.

    Attributes:
        seconds: wall-clock time of each measured step.
        worker_peak_bytes: largest memory of a worker, by the measured member's name.
        server_peak_bytes: largest memory of all processes of the server together.
    """

    seconds: tuple[float, ...]
    worker_peak_bytes: Mapping[str, int]
    server_peak_bytes: int

    @property
    def seconds_per_step(self) -> float:
        """Median of the steps."""
        return median(self.seconds)


def repeated(config: RunConfig, members: int, replicas: int) -> RunConfig:
    """The configuration with ``members`` members, all drawn: those of its pool in turn, each with
    ``replicas`` workers."""
    given, repeats = config.pool.members, []
    for index in range(members):
        turn, position = divmod(index, len(given))
        member = given[position]
        changes = {"name": f"{member.name}_{turn}", "replicas": replicas, "probability": None}
        repeats.append(member.model_copy(update=changes))
    pool = config.pool.model_copy(update={"members": tuple(repeats), "active": None, "warmup": 0, "main": repeats[0].name})
    return config.model_copy(update={"pool": pool})


def check(config: RunConfig, members: int, replicas: int, steps: int, report: Report) -> Checked:
    """Run a pool of :func:`repeated` members as actors, for ``steps`` steps after one to warm up.

    Args:
        config: the run; its schedule's length is not used.
        members: number of members of the pool.
        replicas: number of workers of each member.
        steps: number of measured steps.
        report: callback that gets lines on the progress.
    """
    large = with_length(repeated(config, members, replicas), steps)
    names = [member.name for member in config.pool.members]
    taken: dict[int, float] = {}

    def after_step(record: StepRecord) -> None:
        version = record.plan.version
        taken[version] = record.metrics["seconds/step"]  # a step that is done again after a fault counts once
        report(f"{members * replicas} workers: step {version + 1} of {WARM_UP + steps}, {taken[version]:.2f} s")

    info, cache = open_dataset(large.data).info, cache_folder(large.data.cache)
    with TemporaryDirectory() as folder, ray_session():
        resources = find_resources(large)
        report(resources.line)
        with launch(resources, info, Path(folder), lambda: None) as pool:
            run_steps(sized(resources.config, info, pool, report), info, pool, WARM_UP + steps, after_step)
            peaks, server = _peaks(pool, cache)
    of_member = {name: max(peaks[index :: len(names)]) for index, name in enumerate(names[:members])}
    return Checked(tuple(taken.values())[WARM_UP:], of_member, server)


def _peaks(pool: RayPool, cache: Path) -> tuple[list[int], int]:
    """Peak bytes of each member's largest process, and of all processes of the server together."""

    def peak_bytes(actors: Sequence[Any]) -> list[int]:
        uses: list[ProcessUse] = fetch([actor.__ray_call__.remote(process_use, cache) for actor in actors])
        return [use.peak_bytes for use in uses]

    return [max(peak_bytes(member.processes)) for member in pool.workers], sum(peak_bytes(pool.server.processes))
