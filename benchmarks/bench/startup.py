"""The time of a command to its first image step, compared with that of Ray and as many bare actors
that import torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from hmdc_ray.errors import RunError

ACTORS = 4
"""Actors of the preset ``digits``: three members and the parameter server."""

POLL_SECONDS = 0.02

DEADLINE = 300.0
"""Longest time in seconds that either may take."""


@dataclass(frozen=True)
class Startup:
    """Seconds of both, measured in turn.

    Attributes:
        condense: seconds from the command ``hmdc condense digits`` to the record of the first image
            step.
        bare: seconds from ``ray.init`` without arguments to the answer of the last of the actors,
            all started at once; the import of Ray is left out.
    """

    condense: tuple[float, ...]
    bare: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How many times as long the command takes: median of neighbouring pairs."""
        return median(ours / bare for ours, bare in zip(self.condense, self.bare, strict=True))


def measure_startup(pairs: int, report: Callable[[str], None]) -> Startup:
    """Measure ``pairs`` pairs, after a run that decodes the data; ``report`` gets lines on the
    progress."""
    condense, bare = [], []
    _first_step()
    for pair in range(pairs):
        condense.append(_first_step())
        bare.append(_bare_actors())
        report(f"start {pair + 1} of {pairs}: condense {condense[-1]:.1f} s, bare actors {bare[-1]:.1f} s")
    return Startup(tuple(condense), tuple(bare))


def _first_step() -> float:
    with TemporaryDirectory() as folder:
        metrics = Path(folder) / "run" / "metrics.jsonl"
        start = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603  # our own command
            [sys.executable, "-m", "hmdc_ray.cli.main", "condense", "digits", "--output", str(metrics.parent)],
            cwd=folder,
            env=_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not (metrics.exists() and metrics.stat().st_size):
                seconds = time.perf_counter() - start
                if process.poll() is not None or seconds > DEADLINE:
                    raise RunError(
                        f"'hmdc condense digits' made no image step in {seconds:.0f} s (exit code {process.returncode}): "
                        "try it by hand"
                    )
                time.sleep(POLL_SECONDS)
            return time.perf_counter() - start
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE)


def _bare_actors() -> float:
    done = subprocess.run(  # our own module
        [sys.executable, "-m", "benchmarks.bench.startup"], env=_environment(), capture_output=True, text=True, timeout=DEADLINE
    )
    if done.returncode:
        raise RunError(f"Ray and {ACTORS} actors did not start: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout.splitlines()[-1])


def _environment() -> dict[str, str]:
    """The environment without the user's cluster and tracking server."""
    return {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}


class _Bare:
    """Imports torch, as every worker must."""

    def __init__(self) -> None:
        import torch

        self.threads = torch.get_num_threads()

    def ready(self) -> int:
        return self.threads


def main() -> None:
    """Start Ray and the actors in this process, and print the seconds."""
    import ray

    start = time.perf_counter()
    ray.init(address="local", _node_ip_address="127.0.0.1")
    bare: Any = ray.remote(num_cpus=0.1)(_Bare)
    actors = [bare.remote() for _ in range(ACTORS)]
    ray.get([actor.ready.remote() for actor in actors], timeout=DEADLINE)
    seconds = time.perf_counter() - start
    ray.shutdown()
    sys.stdout.write(f"{seconds}\n")


if __name__ == "__main__":
    main()
