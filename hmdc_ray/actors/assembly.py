"""What a run is made of, taken from its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hmdc_ray.config import RunConfig
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.messages import MemberDescription, MemberTaps
from hmdc_ray.server.checkpoint import CheckpointFolder

FREE = {
    "name": ...,
    "evaluation": ...,
    "tracking": ...,
    "data": {"cache", "source"},
    "matching": {"classes_per_call"},
    "schedule": {
        "iterations",
        "checkpoint_every",
        "checkpoints_kept",
        "checkpoint_failures",
        "checkpoint_uri",
        "picture_every",
    },
    "cluster": {
        "server_cpus",
        "server_shards",
        "memory_per_worker",
        "start_timeout",
        "call_timeout",
        "cut_every",
        "recovery_timeout",
        "recovery_attempts",
        "when_lost",
        "placement",
    },
}
"""Fields that do not change the images of a step: a run may continue with other values."""


def identity(config: RunConfig, info: DatasetInfo) -> dict[str, Any]:
    """What two runs must share to give the same images: configuration fields, and the data's fingerprint."""
    fields = config.model_dump(mode="json", exclude=FREE)  # type: ignore[arg-type]
    for member in fields["pool"]["members"]:
        for resource in ("num_cpus", "num_gpus", "resources", "replicas", "labels"):
            del member[resource]
        # What a checkpoint that was made before there was a choice has done.
        if member["statistics"] == ("data" if member["weights"] == "pretrained" else "own"):
            del member["statistics"]
    if fields["balance"]["scope"] == "iteration":  # likewise
        del fields["balance"]["scope"]
    return {"config": fields, "data": info.fingerprint}


def server_arguments(config: RunConfig, info: DatasetInfo, folder: Path) -> dict[str, Any]:
    """Arguments of a run's :class:`hmdc_ray.server.parameter_server.ParameterServer`, but for the initial images."""
    return {
        "mean": info.mean,
        "std": info.std,
        "images": config.images,
        "balance": config.balance,
        "loss_weights": [member.loss_weight for member in config.pool.members],
        "main": config.pool.main_index,
        "threads": config.cluster.threads,
        "checkpoints": CheckpointFolder.of_run(folder, config.schedule),
        "identity": identity(config, info),
    }


def agreeing(config: RunConfig, descriptions: Sequence[MemberDescription]) -> list[MemberTaps]:
    """Taps of the members that distil one another if all of them are drawn, replicas once; none without mutual distillation."""
    distils = config.matching.mutual_distillation and config.pool.drawn > 1
    return list({found.name: found.taps for found in descriptions}.values()) if distils else []
