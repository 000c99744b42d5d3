"""A run's identity, the arguments of its server, and the members that agree on features, from its
configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hmdc_ray.config import RunConfig
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.exchange.messages import MemberDescription, MemberTaps
from hmdc_ray.matching.ssd import common_size
from hmdc_ray.server.checkpoint import CheckpointFolder

FREE = {
    "name": ...,
    "evaluation": ...,
    "tracking": ...,
    "data": {"cache", "source"},
    "matching": {"classes_per_call", "probe_every"},
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
"""Fields that do not change the images of a step: a run may be resumed with other values."""


CORRECTIONS = "corrections"
"""Key of computations that earlier releases did differently."""


def identity(config: RunConfig, info: DatasetInfo) -> dict[str, Any]:
    """Configuration fields and data fingerprint that two runs must share to give the same
    images."""
    fields = config.model_dump(mode="json", exclude=FREE)  # type: ignore[arg-type]
    for member in fields["pool"]["members"]:
        for resource in ("num_cpus", "num_gpus", "resources", "replicas", "labels"):
            del member[resource]
        # The behaviour of checkpoints from before this field existed: left out, so that they can be
        # resumed.
        if member["statistics"] == ("data" if member["weights"] == "pretrained" else "own"):
            del member["statistics"]
    if fields["balance"]["scope"] == "iteration":  # likewise
        del fields["balance"]["scope"]
    if not _distils(config):
        del fields["matching"]["agreement"], fields["matching"]["aligner_images"]
    fields["data"]["statistics"] = info.statistics  # those in use, stated or recorded with the data
    found = {"config": fields, "data": info.fingerprint}
    corrections = _corrections(config, info)
    return {**found, CORRECTIONS: corrections} if corrections else found


def _distils(config: RunConfig) -> bool:
    return config.matching.mutual_distillation and config.pool.drawn > 1


def _corrections(config: RunConfig, info: DatasetInfo) -> dict[str, str]:
    """Computations of this run that earlier releases did differently: their checkpoints cannot be
    resumed."""
    matching = config.matching
    training = config.schedule.training
    others = [member for member in config.pool.members if ":" in member.architecture]  # our own networks have no dropout
    cropped = [side for side in (info.shape.height, info.shape.width) if side % 16 == 4]  # else an eighth rounds alike
    concerned = {
        "precision": (
            matching.precision == "float64",
            "augmentation, normalisation and clipping are computed in float64 as well, where they were in float32",
        ),
        "kmeans": (
            "kmeans" in (matching.sampler, config.images.initialise),
            "of images equally near to a k-means centroid the first is chosen, where rounding chose",
        ),
        "crop": (
            bool(cropped) and matching.augmentation != "none" and "crop" in matching.families,
            "crops of a side whose eighth ends in a half reach one pixel further",
        ),
        "distillation": (
            _distils(config),
            "aligners are trained before every step, where some never were, and every block of a transformer is a tap",
        ),
        "training": (
            training != "none" and matching.augmentation != "none",
            "every image of a training batch is varied on its own, where one draw was for all",
        ),
        "cutmix": (
            training == "real" and any(member.cutmix for member in config.pool.members),
            "sides of CutMix boxes truncate, where they were rounded",
        ),
        "dropout": (
            training == "synthetic" and bool(others),
            "dropout is drawn anew for every training batch, where one draw went on through those of a step",
        ),
    }
    return {name: sentence for name, (concerns, sentence) in concerned.items() if concerns}


def server_arguments(config: RunConfig, info: DatasetInfo, folder: Path) -> dict[str, Any]:
    """Arguments of a run's :class:`hmdc_ray.server.parameter_server.ParameterServer`, but for the
    initial images."""
    return {
        "mean": info.mean,
        "std": info.std,
        "images": config.images,
        "balance": config.balance,
        "loss_weights": [member.loss_weight for member in config.pool.members],
        "main": config.pool.main_index,
        "threads": config.threads,
        "checkpoints": CheckpointFolder.of_run(folder, config.schedule),
        "identity": identity(config, info),
    }


def agreeing(config: RunConfig, descriptions: Iterable[MemberDescription]) -> dict[str, list[MemberTaps]]:
    """For each member, by name, the members of the draw in which it agrees on the largest features,
    itself among them.

    Where all members are drawn, these are all. Where some are drawn, pairs are enough to look at: a
    further member can only make the common size smaller. The list is empty for a member that agrees
    with no other.

    Args:
        config: the run.
        descriptions: descriptions of all members, perhaps with their replicas; not read without
            mutual distillation.
    """
    pool = config.pool
    alone: dict[str, list[MemberTaps]] = {member.name: [] for member in pool.members}
    if not config.matching.mutual_distillation or pool.drawn == 1:
        return alone
    taps = {found.name: found.taps for found in descriptions}
    if pool.drawn == len(pool.members):
        return {name: list(taps.values()) for name in taps}
    drawn = [taps[member.name] for member, weight in zip(pool.members, pool.probabilities, strict=True) if weight > 0]
    pairs = {own.name: [[own, other] for other in drawn if other is not own] for own in drawn}
    return alone | {name: max(some, key=_numbers) for name, some in pairs.items()}


def _numbers(agreed: Sequence[MemberTaps]) -> int:
    """Numbers of an image's features that are common to the members."""
    size = common_size([member.taps for member in agreed])
    return size.layers * size.tokens * size.channels
