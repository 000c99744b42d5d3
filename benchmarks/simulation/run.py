"""Runs a simulated pool for one step, and measures what the exchange and the server took."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil

from benchmarks.simulation.members import Sizes
from benchmarks.simulation.pool import SimulatedPool
from hmdc_ray.actors.session import ray_session
from hmdc_ray.config import RunConfig
from hmdc_ray.exchange.messages import MemberTaps
from hmdc_ray.exchange.schedule import class_parts
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.profiling.process import ProcessUse, process_use
from hmdc_ray.run.coordinator import Coordinator
from hmdc_ray.server.checkpoint import CheckpointFolder

HOSTS = 2
"""Processes that the members share."""

SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Simulated:
    """What one step of a simulated pool took.

    Attributes:
        members: number of members that were drawn.
        seconds: wall-clock time of the step.
        computing: seconds that each member waited in place of computing.
        server_seconds: processor time of the server, all its processes together.
        busiest_seconds: processor time of its busiest process.
        received_bytes: bytes that the server received.
        server_bytes: largest memory of a process of the server, without what it shares with others.
        driver_bytes: largest memory of the driver, likewise.
        machine_bytes: largest growth of the machine's used memory.
    """

    members: int
    seconds: float
    computing: float
    server_seconds: float
    busiest_seconds: float
    received_bytes: int
    server_bytes: int
    driver_bytes: int
    machine_bytes: int

    @property
    def server_share(self) -> float:
        """Processor time of the server as a part of the step, from 0; several processes together
        may pass 1."""
        return self.server_seconds / self.seconds

    @property
    def busiest_share(self) -> float:
        """Part of the step, 0 to 1, in which the server's busiest process worked."""
        return self.busiest_seconds / self.seconds

    @property
    def outside(self) -> float:
        """Part of the step, 0 to 1, in which members did not compute."""
        return 1 - self.computing / self.seconds


def simulate(
    config: RunConfig, members: int, classes: int, sizes: Sizes, taps: MemberTaps, report: Callable[[str], None]
) -> Simulated:
    """Run one step.

    Args:
        config: the run; all members are like its first one.
        members: number of members.
        classes: number of classes.
        sizes: sizes of a member's messages for each class.
        taps: taps of its network.
        report: callback that gets lines on the progress.
    """
    first = config.pool.members[0]
    alike = tuple(first.model_copy(update={"name": f"member-{number}"}) for number in range(members))
    schedule = config.schedule.model_copy(update={"iterations": 1, "steps": 1, "training": "none"})
    pool = config.pool.model_copy(update={"members": alike, "active": None, "main": None, "warmup": 0})
    config = config.model_copy(update={"schedule": schedule, "pool": pool})
    channels = sizes.images[1]
    with TemporaryDirectory() as folder, ray_session(), _Memory() as memory:
        server = {
            "mean": (0.5,) * channels,
            "std": (0.25,) * channels,
            "images": config.images,
            "balance": config.balance,
            "loss_weights": [member.loss_weight for member in alike],
            "main": 0,
            "threads": config.threads,
            "checkpoints": CheckpointFolder(Path(folder)),
            "identity": {},
        }
        simulated = SimulatedPool(members, HOSTS, sizes, taps, class_parts(classes, config.server_shards))
        try:
            simulated.open(server, np.zeros((classes, *sizes.images), np.float32))
            before = server_use(simulated, Path(folder))
            memory.watch([use.pid for use in before])
            steps: list[StepRecord] = []
            report(f"{members} members: a step")
            Coordinator(config, simulated, classes=classes, train_images=classes).run(0, steps.append)
            after = server_use(simulated, Path(folder))
        finally:
            simulated.close()
    worked = [late.cpu_seconds - early.cpu_seconds for early, late in zip(before, after, strict=True)]
    gradients = 2 * int(np.prod(sizes.images))
    features = (sizes.real + 2 * sizes.synthetic) * int(np.prod(sizes.features))
    return Simulated(
        members=members,
        seconds=steps[0].metrics["seconds/step"],
        computing=classes * sum(sizes.seconds.values()),
        server_seconds=sum(worked),
        busiest_seconds=max(worked),
        received_bytes=members * classes * 4 * (gradients + features),
        server_bytes=max(memory.largest[use.pid] for use in after),
        driver_bytes=memory.largest[os.getpid()],
        machine_bytes=memory.grown,
    )


def server_use(simulated: SimulatedPool, cache: Path) -> list[ProcessUse]:
    """Resources that every process of the server has used so far."""
    return simulated.get([actor.__ray_call__.remote(process_use, cache) for actor in simulated.actors])


class _Memory:
    """Samples memory while a block runs: what processes have for themselves, and all that the
    machine uses.

    Attributes:
        largest: largest memory of each process in bytes, by process id.
        grown: largest growth of the machine's used memory in bytes.
    """

    def __init__(self) -> None:
        self.largest = {os.getpid(): 0}
        self.grown = 0
        self._before = psutil.virtual_memory()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def watch(self, pids: Sequence[int]) -> None:
        """Sample these processes too."""
        self.largest |= dict.fromkeys(pids, 0)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.grown = max(self.grown, self._before.available - psutil.virtual_memory().available)
            for pid in list(self.largest):
                with suppress(psutil.NoSuchProcess):  # it has ended
                    own = psutil.Process(pid).memory_info()
                    self.largest[pid] = max(self.largest[pid], own.rss - own.shared)


def table_rows(results: Sequence[Simulated]) -> list[list[str]]:
    """One row for each number of members, for a table."""
    return [
        [
            str(result.members),
            f"{result.seconds:.1f}",
            f"{result.computing:.1f}",
            f"{result.outside:.1%}",
            f"{result.server_seconds:.2f}",
            f"{result.server_share:.2%}",
            f"{result.busiest_seconds:.2f}",
            f"{result.busiest_share:.2%}",
            f"{result.received_bytes / 1e9:.1f}",
            f"{result.server_bytes / 1e6:,.0f}",
            f"{result.driver_bytes / 1e6:,.0f}",
            f"{result.machine_bytes / 1e9:.1f}",
        ]
        for result in results
    ]
