"""Load of the machine that a run is on: processor, memory, disk, network and GPUs, as MLflow's
pages show them.

MLflow's own thread for this stops for good when the server does not answer once; its collectors are
used here, and their values are kept and sent like all others of the run. GPUs are seen when
nvidia-ml-py is installed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PREFIX = "system/"
LAST_METRIC = f"{PREFIX}cpu_utilization_percentage"
"""A name that every sample has."""

SECONDS = 10.0

_logger = logging.getLogger(__name__)


class SystemSampler:
    """A thread that takes a sample every :data:`SECONDS`.

    Args:
        report: callback that gets the number of the sample and its values by name; called in the
            thread.
        first: number of the first sample, 0 for a new run.
    """

    def __init__(self, report: Callable[[int, Mapping[str, float]], None], first: int) -> None:
        self._report = report
        self._number = first
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No sample is reported after this."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        collectors = _collectors()
        while not self._stopped.wait(SECONDS):
            self._report(self._number, sample(collectors))
            self._number += 1


def sample(collectors: Sequence[Any]) -> dict[str, float]:
    """The machine's load now, by names such as ``system/cpu_utilization_percentage``."""
    values: dict[str, float] = {}
    for collector in collectors:
        collector.clear_metrics()
        collector.collect_metrics()
        values |= {f"{PREFIX}{name}": float(value) for name, value in collector.aggregate_metrics().items()}
    return values


def _collectors() -> Sequence[Any]:
    """Those that work on this machine."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    found: list[Any] = []
    kinds: tuple[Any, ...] = (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor)
    for kind in kinds:
        try:
            collector = kind()
            collector.collect_metrics()  # the processor's first value is of no time span, and left out by the first sample
        except Exception as error:  # no GPU, no library for it, no network: whatever the collector says
            _logger.debug("no %s: %s", kind.__name__, error)
        else:
            found.append(collector)
    return found
