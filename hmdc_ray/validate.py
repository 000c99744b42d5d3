"""Checks of a configuration against its data, made before anything is started."""

from __future__ import annotations

from hmdc_ray.config import NetworkSection, RunConfig
from hmdc_ray.data.packing import check_formation
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.models.network import Network
from hmdc_ray.models.registry import build
from hmdc_ray.seeding import Key


def validate(config: RunConfig, info: DatasetInfo) -> list[Network]:
    """Build every network of the pool and of the evaluation once, on the data's shape.

    Returns:
        The networks of the pool's members, in order.

    Raises:
        InputError: a network does not exist or does not admit the images; a member declares no taps but mutual
            distillation needs them; the formation factor does not divide the image; fewer than two classes.
    """
    if len(info.class_names) < 2:
        raise InputError(f"data {info.source!r} has {len(info.class_names)} class, condensation needs at least 2")
    check_formation(config.images.formation, info.shape.height, info.shape.width)
    members = [_build(f"pool.members.{member.name}", member, info) for member in config.pool.members]
    validate_students(config, info)
    for member, network in zip(config.pool.members, members, strict=True):
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise InputError(
                f"pool.members.{member.name} ({member.architecture!r}) has no parameter to train, it needs at least one"
            )
    if config.matching.mutual_distillation and len(members) > 1:
        for member, network in zip(config.pool.members, members, strict=True):
            if not network.taps:
                raise InputError(
                    f"pool.members.{member.name} ({member.architecture!r}) has no taps, which matching.mutual_distillation "
                    "needs: let its factory return an Architecture with taps, or set mutual_distillation to false"
                )
    return members


def validate_students(config: RunConfig, info: DatasetInfo) -> None:
    """Build every network of the evaluation once.

    Raises:
        InputError: a network does not exist or does not admit the images, or the split has no images.
    """
    for student in config.evaluation.students:
        _build(f"evaluation.students.{student.name}", student, info)
    if not info.sizes[config.evaluation.split]:
        raise InputError(f"evaluation.split is {config.evaluation.split!r}, which has no images in data {info.source!r}")


def _build(field: str, section: NetworkSection, info: DatasetInfo) -> Network:
    try:
        return build(section.architecture, section.options, info.shape, len(info.class_names), Key(0, "network"))
    except InputError as error:
        raise InputError(f"{field}: {error}") from error
