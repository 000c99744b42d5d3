"""A member's share of what was measured, on numbers made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hmdc_ray.config.io import parse_config
from hmdc_ray.profiling.profile import _member
from hmdc_ray.profiling.steps import StepTimes


def test_what_replicas_share_is_told_from_what_each_of_them_does() -> None:
    config = parse_config({"pool": {"members": ["mlp", {"architecture": "lenet", "num_gpus": 0.5}]}}, "test")
    phases = [
        {"forward": 1.0, "training": 2.0, "training_data": 0.5, "aligner_training": 0.25, "kmeans": 0.25},
        {"forward": 3.0, "pull_back": 2.0, "training": 4.0},
        {"forward": 90.0, "training": 90.0},
    ]
    traffic = {"match": 100.0, "pull_back": 10.0, "training_step": 7.0, "training_features": 1.0}
    bench: Any = SimpleNamespace(
        config=config,
        gpus=(0.0, 0.5),
        one_process=SimpleNamespace(steps=[StepTimes(200.0, {"worker lenet": each}, {}) for each in phases]),
        traffic={("worker lenet", call): count for call, count in traffic.items()} | {("worker mlp", "match"): 5.0},
        actors=SimpleNamespace(processes={"worker lenet": SimpleNamespace(peak_bytes=300)}),
    )
    found = _member(bench, 1)
    assert (found.name, found.num_gpus, found.peak_bytes) == ("lenet", 0.5, 300)
    assert (found.matching, found.training) == (5.0, 4.0)  # medians of 1, 5, 90 and of 3, 4, 90
    assert (found.shared_bytes, found.each_bytes) == (110.0, 8.0)
