from __future__ import annotations

import math

from hmdc_ray.profiling.steps import StepTimes


def test_waiting_is_what_the_busiest_worker_leaves() -> None:
    step = StepTimes(4.0, {"x": {"forward": 1.0, "training": 2.0}, "y": {"forward": 1.0}, "server": {"apply": 3.9}}, {})
    assert step.busy("x") == 3.0
    assert math.isclose(step.outside(["x", "y"]), 0.25)
