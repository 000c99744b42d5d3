"""How long the runs are whose steps are measured."""

from __future__ import annotations

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import apply_overrides

WARM_UP = 1
"""Steps that are not measured: the first one loads kernels and the data's pages."""


def with_length(config: RunConfig, steps: int) -> RunConfig:
    """The run with one iteration that is long enough for the warm-up and ``steps`` measured steps."""
    return apply_overrides(config, ["schedule.iterations=1", f"schedule.steps={WARM_UP + steps + 1}"])
