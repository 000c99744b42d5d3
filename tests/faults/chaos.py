"""A run whose processes and nodes are killed at random points of its rounds, beside the same run
left in peace.

``python -m faults.chaos`` is the long form; tests run a short one. Kills are drawn from a seed, and
fall in turn into a round (a moment after the coordinator began to wait for results: matching,
training, the image step), a cut, and a save.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hmdc_ray.actors.launch import launch
from hmdc_ray.actors.local import LocalPool
from hmdc_ray.actors.pool import RayPool
from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.exchange.recovery import Healed
from hmdc_ray.exchange.resources import given
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.run.coordinator import Coordinator

PHASES = {"round": 0.15, "cut": 0.0, "save": 0.0}
"""What the pool is doing when a kill comes, with the most seconds after the coordinator began to
wait for it to be done.

Cuts and saves take little time: the kill comes when their calls are made, and before they are
waited for.
"""


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        kind: ``worker``, ``server`` or ``node``.
        phase: one of :data:`PHASES`.
        gap: at least so many waits after the one before.
    """

    kind: str
    phase: str
    gap: int


def drawn_kills(kinds: Sequence[str], draws: random.Random, gap: int) -> list[Kill]:
    """A kill of every kind given, in that order, in the phases in turn, about every ``gap``
    waits."""
    phases = itertools.cycle(PHASES)
    return [Kill(kind, next(phases), draws.randint(max(1, gap - 2), gap + 2)) for kind in kinds]


@dataclass
class Report:
    """What a disturbed run did.

    Attributes:
        images: after the last step.
        kills: by kind.
        phases: kills by what the pool was doing.
        seconds: that each recovery took.
        applied: how often each image version was made, as the server counted them in the end.
        events: by kind.
    """

    images: np.ndarray
    kills: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)


class ChaosPool:
    """A pool on Ray that suffers kills.

    Args:
        pool: the real one.
        plan: the kills, in order.
        draws: of the seconds from a wait's begin to its kill, and of the workers killed.
        nodes: of which some are killed.

    Attributes:
        saving: set while a checkpoint is saved.
    """

    def __init__(self, pool: RayPool, plan: Sequence[Kill], draws: random.Random, nodes: Nodes | None) -> None:
        self.pool = pool
        self.plan = list(plan)
        self.kills: Counter[str] = Counter()
        self.phases: Counter[str] = Counter()
        self.saving = False
        self._draws = draws
        self._nodes = nodes
        self._waits = 0
        self._executor = ThreadPoolExecutor(1)
        self._under_way: list[Future[None]] = []
        self._pids = self._process_ids()

    @property
    def workers(self) -> Any:
        return self.pool.workers

    @property
    def server(self) -> Any:
        return self.pool.server

    def get(self, references: Sequence[Any]) -> list[Any]:
        self._maybe_kill("save" if self.saving else "round")
        return self.pool.get(references)

    def keep(self, references: Sequence[Any]) -> None:
        self._maybe_kill("cut")
        self.pool.keep(references)

    def heal(self) -> Healed:
        self.settle()
        healed = self.pool.heal()
        self._pids = self._process_ids()
        return healed

    def settle(self) -> None:
        """Wait for the kills under way, and replace killed nodes (here, for Ray starts nodes in the
        main thread alone)."""
        for kill in self._under_way:
            kill.result()
        self._under_way.clear()
        if self._nodes is not None:
            self._nodes.replace_killed()

    def _maybe_kill(self, phase: str) -> None:
        self._waits += 1
        if not self.plan or self._waits < self.plan[0].gap or phase != self.plan[0].phase:
            return
        self._waits = 0
        kind = self.plan.pop(0).kind
        if kind == "node":
            self.settle()  # one that hosted nothing was missed by nobody, and not replaced
        self.kills[kind] += 1
        self.phases[phase] += 1
        workers, servers = self._pids
        pid = self._draws.choice(servers if kind == "server" else workers)
        if PHASES[phase]:
            self._under_way.append(self._executor.submit(self._kill, kind, pid, self._draws.uniform(0, PHASES[phase])))
        else:
            self._kill(kind, pid)

    def _kill(self, kind: str, pid: int, delay: float = 0.0) -> None:
        time.sleep(delay)
        if kind == "node":
            assert self._nodes is not None
            self._nodes.kill_one()
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _process_ids(self) -> tuple[list[int], list[int]]:
        """Of the workers and of the server's shards."""
        workers = [actor for member in self.pool.workers for actor in member.processes]
        shards = self.pool.server.processes
        # A lambda travels by value: actors cannot import this module.
        calls = [[actor.__ray_call__.remote(lambda _: os.getpid()) for actor in actors] for actors in (workers, shards)]
        return self.pool.get(calls[0]), self.pool.get(calls[1])


def undisturbed(config: RunConfig, folder: Path) -> np.ndarray:
    """Images of the run in one process."""
    info = open_dataset(config.data).info
    pool = LocalPool(config, info, folder)
    coordinator = Coordinator(config, pool, classes=len(info.class_names), train_images=info.sizes["train"])
    images: np.ndarray = coordinator.run(0, lambda record: None).images_KICHW
    return images


def disturbed(
    config: RunConfig,
    folder: Path,
    kinds: Sequence[str],
    seed: int,
    nodes: Nodes | None = None,
    gap: int = 5,
) -> Report:
    """Run with kills, one about every ``gap`` waits; saves checkpoints at its period."""
    info = open_dataset(config.data).info
    draws = random.Random(seed)  # chaos, not secrets
    plan = drawn_kills(kinds, draws, gap)
    report = Report(np.empty(0))

    def tell(kind: str, step: int, **fields: Any) -> None:
        report.events[kind] += 1
        if kind == "recovered":
            report.seconds.append(fields["seconds"])

    with launch(given(config), info, folder, check=lambda: None) as actors:
        pool = ChaosPool(actors, plan, draws, nodes)
        coordinator = Coordinator(config, pool, classes=len(info.class_names), train_images=info.sizes["train"], tell=tell)

        def after_step(record: StepRecord) -> None:
            report.versions.append(record.plan.version)
            if (record.plan.version + 1) % config.schedule.checkpoint_every == 0:
                pool.saving = True
                try:
                    coordinator.checkpoint(record.plan.version + 1)
                finally:
                    pool.saving = False

        report.images = coordinator.run(0, after_step).images_KICHW
        pool.settle()
        report.kills, report.phases = pool.kills, pool.phases
        assert not pool.plan, f"the run ended before {len(pool.plan)} of its kills"
        server_version = actors.get([actors.server.snapshot()])[0].version
    assert server_version == config.schedule.iterations * config.schedule.steps
    return report


class Nodes:
    """A cluster on loopback, of which nodes without the driver can be killed.

    Args:
        folder: of its sessions.
        others: nodes beside the driver's.
    """

    def __init__(self, folder: Path, others: int = 2) -> None:
        import ray
        from ray._common.utils import get_default_ray_temp_dir
        from ray.cluster_utils import Cluster

        # Wherever the cluster's own folder is, its address is written into this one, which nobody
        # else makes.
        Path(get_default_ray_temp_dir()).mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"object_store_memory": 150 * 1024 * 1024}
        head = {"num_cpus": 1, "include_dashboard": False, "temp_dir": str(folder), **options}
        system = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_timeout_ms": 1000}
        self._options = options
        self.cluster = Cluster(
            initialize_head=True, head_node_args={**head, "_system_config": {**system, "health_check_failure_threshold": 2}}
        )
        self._size = others
        self.others: list[Any] = []
        for _ in range(others):
            self.add_one()
        ray.init(address=self.cluster.address, log_to_driver=False, logging_level=logging.ERROR)

    def add_one(self) -> None:
        """Add a node, and wait until it is there."""
        self.others.append(self.cluster.add_node(num_cpus=1, **self._options))

    def kill_one(self) -> None:
        """Kill a node with all that runs on it."""
        self.cluster.remove_node(self.others.pop(0), allow_graceful=False)

    def replace_killed(self) -> None:
        """Add a node for each that was killed, and do not wait until it is there."""
        while len(self.others) < self._size:
            self.others.append(self.cluster.add_node(num_cpus=1, wait=False, **self._options))

    def close(self) -> None:
        import ray

        ray.shutdown()
        self.cluster.shutdown()


def main() -> None:
    """Kill workers, the server and nodes of a three-node cluster, and compare the pixels."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kills", type=int, default=21, help="in all, of the kinds in turn")
    parser.add_argument("--kinds", nargs="+", default=["worker", "server", "node"], choices=["worker", "server", "node"])
    parser.add_argument("--replicas", type=int, default=1, help="workers of the first member")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # Before Ray is imported: all nodes on loopback.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    # After a fault the calls that build on the one that failed fail too.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    from whole_runs import tiniest

    folder = Path(tempfile.mkdtemp(prefix="hmdc-"))
    kinds = [arguments.kinds[index % len(arguments.kinds)] for index in range(arguments.kills)]
    random.Random(arguments.seed).shuffle(kinds)  # chaos, not secrets
    steps = 4 + 3 * arguments.kills  # a kill comes about every second step, later where it waits for a cut or a save
    members = [
        {"architecture": "convnet", "options": {"width": 8, "depth": 2}, "replicas": arguments.replicas},
        {"architecture": "lenet"},
    ]
    config = tiniest(
        folder,
        pool={"members": members},
        schedule={"iterations": -(-steps // 5), "steps": 5, "checkpoint_every": 2},
        cluster={"cut_every": 2, "recovery_attempts": 20, "placement": "spread", "start_timeout": 300},
    )
    nodes = Nodes(folder)
    try:
        expected = undisturbed(config, folder / "peace")
        start = time.monotonic()
        report = disturbed(config, folder / "chaos", kinds, arguments.seed, nodes)
        seconds = time.monotonic() - start
    finally:
        nodes.close()
        shutil.rmtree(folder, ignore_errors=True)
    same = np.array_equal(report.images, expected)
    print(f"kills: {dict(report.kills)}, in {dict(report.phases)}; events: {dict(report.events)}; {seconds:.0f} s")  # noqa: T201
    print(  # noqa: T201
        f"seconds lost per recovery: median {statistics.median(report.seconds):.1f}, worst {max(report.seconds):.1f} "
        f"({len(report.seconds)} recoveries)"
    )
    print(f"pixels equal to the undisturbed run's: {same}")  # noqa: T201
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
