"""Dataset condensation with a heterogeneous pool of networks, distributed on Ray."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hmdc_ray.condensed import load_condensed
    from hmdc_ray.config import RunConfig
    from hmdc_ray.run.condense import condense
    from hmdc_ray.run.evaluate import evaluate

__all__ = ["RunConfig", "condense", "evaluate", "load_condensed"]

_HOMES = {"RunConfig": "config", "condense": "run.condense", "evaluate": "run.evaluate", "load_condensed": "condensed"}


def __getattr__(name: str) -> Any:
    """Import the public names when they are used: Ray and torch take seconds, and ``hmdc --help``
    needs neither."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"hmdc_ray.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'hmdc_ray' has no attribute {name!r}")
