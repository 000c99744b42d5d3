"""A configuration whose paths do not depend on the working directory."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from hmdc_ray.config import NetworkSection, RunConfig
from hmdc_ray.data.digits import NAME as DIGITS

AnyNetwork = TypeVar("AnyNetwork", bound=NetworkSection)


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The configuration with absolute paths: workers and later evaluations run in other folders.
    Paths from ``~`` stay."""
    paths = {"source": None if config.data.source == DIGITS else config.data.source, "cache": config.data.cache}
    absolute = {name: str(Path(path).absolute()) for name, path in paths.items() if path and not path.startswith("~")}
    evaluation: dict[str, object] = {"students": _with_absolute_weights(config.evaluation.students)}
    whole = config.evaluation.whole_data
    if whole is not None and not whole.startswith("~"):
        evaluation["whole_data"] = str(Path(whole).absolute())
    distillation = config.evaluation.distillation
    if distillation is not None:
        (teacher,) = _with_absolute_weights((distillation.teacher,))
        evaluation["distillation"] = distillation.model_copy(update={"teacher": teacher})
    images = config.images
    if images.initial_set is not None and not images.initial_set.startswith("~"):
        images = images.model_copy(update={"initialise": f"set:{Path(images.initial_set).absolute()}"})
    return config.model_copy(
        update={
            "images": images,
            "data": config.data.model_copy(update=absolute),
            "pool": config.pool.model_copy(update={"members": _with_absolute_weights(config.pool.members)}),
            "evaluation": config.evaluation.model_copy(update=evaluation),
        }
    )


def _with_absolute_weights(networks: tuple[AnyNetwork, ...]) -> tuple[AnyNetwork, ...]:
    return tuple(
        network.model_copy(update={"weights": f"checkpoint:{Path(network.checkpoint).absolute()}"})
        if network.checkpoint and not network.checkpoint.startswith("~")
        else network
        for network in networks
    )
