"""The machine's load."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from hmdc_ray.tracking.system import SystemSampler


def test_the_load_of_the_machine_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmdc_ray.tracking.system.SECONDS", 0.001)
    samples: list[tuple[int, dict[str, float]]] = []
    enough = threading.Event()

    def report(number: int, values: Any) -> None:
        samples.append((number, dict(values)))
        if len(samples) == 3:
            enough.set()

    sampler = SystemSampler(report, 5)
    assert enough.wait(60)
    sampler.stop()
    count = len(samples)
    assert [number for number, _ in samples] == list(range(5, 5 + count))
    values = samples[0][1]
    assert 0 <= values["system/cpu_utilization_percentage"] <= 100
    assert 0 < values["system/system_memory_usage_percentage"] <= 100
    assert 0 < values["system/disk_usage_percentage"] <= 100
