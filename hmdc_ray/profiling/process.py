"""What a process uses, as the system counts it (Linux)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from hmdc_ray.system.memory import status_bytes


@dataclass(frozen=True)
class ProcessUse:
    """A process, seen from inside.

    Attributes:
        pid: process id.
        cpu_seconds: processor time of all its threads so far.
        peak_bytes: largest resident memory so far; shared pages count in every process that touches
            them.
        data_resident_bytes: pages of decoded data sets that it has mapped and touched.
        data_share_bytes: the same, each page divided by the number of processes that have it
            mapped: the proportional set size, whose sum over processes is what the machine spends.
    """

    pid: int
    cpu_seconds: float
    peak_bytes: int
    data_resident_bytes: int
    data_share_bytes: int


def process_use(host: object, cache: Path) -> ProcessUse:
    """Use of the process that runs this.

    Args:
        host: object that the process hosts, not used; an actor passes itself.
        cache: folder of the decoded data sets.
    """
    maps = [entry for entry in psutil.Process().memory_maps() if Path(entry.path).parent == cache]
    return ProcessUse(
        pid=os.getpid(),
        cpu_seconds=time.process_time(),
        peak_bytes=status_bytes("VmHWM"),
        data_resident_bytes=sum(entry.rss for entry in maps),
        data_share_bytes=sum(entry.pss for entry in maps),
    )
