"""Seconds are added up by phase, and taken once."""

from __future__ import annotations

import time

import pytest

from hmdc_ray.system.timing import Clock


def test_phases_add_up_also_where_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([1.0, 3.0, 10.0, 14.5, 20.0, 21.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    clock = Clock()
    with clock.phase("read"):
        pass
    with pytest.raises(ValueError, match="broken"), clock.phase("read"):
        raise ValueError("broken")
    with clock.phase("send"):
        pass
    assert clock.take() == {"read": 6.5, "send": 1.0} and clock.take() == {}
