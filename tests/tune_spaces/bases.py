"""Configurations that a search may begin with."""

from __future__ import annotations

from typing import Any

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import parse_config
from hmdc_ray.config.presets import preset


def four_members(**pool: Any) -> RunConfig:
    names = ["convnet", "lenet", "mlp", "alexnet"]
    return parse_config(preset("digits").model_dump() | {"pool": {"members": names, **pool}}, "test")


BASES = {
    "digits": preset("digits"),
    "model-pool": preset("model-pool"),
    "hmdc": preset("hmdc"),
    "pool": preset("pool"),
    "four, two drawn": four_members(active=2),
    "four, main and warm-up": four_members(main="mlp", warmup=3),
    "odd names": parse_config({"pool": {"members": [{"architecture": "mlp", "name": name} for name in ("a.b", "7")]}}, "test"),
}
