"""What the spaces share: the dotted paths of members' fields, and replacing fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import apply_overrides, flow

Space = dict[str, Any]
"""Ray Tune domains by dotted configuration path."""

Sample = Mapping[str, Any]
"""One draw: a value for each path of a space."""


def member_path(base: RunConfig, index: int, field: str = "") -> str:
    """Path of a member's field, or of the member itself: by its name, or by its position if the
    name cannot be in a path."""
    name = base.pool.members[index].name
    key = str(index) if "." in name or name.isdecimal() else name
    return ".".join(filter(None, ("pool.members", key, field)))


def replace(base: RunConfig, values: Sample) -> RunConfig:
    """The configuration with the values at their paths; all are checked together.

    Raises:
        InputError: a field does not exist, or a value does not fit.
    """
    return apply_overrides(base, [f"{path}={flow(value)}" for path, value in values.items()])


def near(value: float, factor: float, largest: float) -> tuple[float, float]:
    """Ends of a range around a value: the value divided by ``factor``, and times it, at most
    ``largest``."""
    return value / factor, min(value * factor, largest)


def together(*parts: ModuleType) -> tuple[Callable[[RunConfig], Space], Callable[[RunConfig, Sample], RunConfig]]:
    """``space`` and ``apply`` of several spaces at once.

    Args:
        parts: spaces in the order in which they are applied. A space that removes members comes
            last, so that the fields of all members can be set before.
    """

    def space(base: RunConfig) -> Space:
        return {path: domain for part in parts for path, domain in part.space(base).items()}

    def apply(base: RunConfig, sample: Sample) -> RunConfig:
        config = base
        for part in parts:
            config = part.apply(config, sample)
        return config

    return space, apply
