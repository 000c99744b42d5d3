"""Checks of a configuration against its data, made before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from hmdc_ray.config import MemberConfig, NetworkSection, RunConfig
from hmdc_ray.data.cutting import batch_slices
from hmdc_ray.data.packing import check_formation
from hmdc_ray.data.schema import DatasetInfo, check_class_sizes
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.temperature import require_validation
from hmdc_ray.matching.member import option_draws
from hmdc_ray.matching.rehearsal import rehearse_matching, rehearse_training
from hmdc_ray.models.network import Network
from hmdc_ray.models.registry import build_section
from hmdc_ray.seeding import Key
from hmdc_ray.server.initial_set import read_initial_set


def validate(config: RunConfig, info: DatasetInfo) -> list[Network]:
    """Build every network of the pool and of the evaluation for the data's shape; equal ones once.

    A member with random options is built with each value of each option, the others at their first
    value.

    Returns:
        The networks of the pool's members, in order, random options at their first values.

    Raises:
        InputError: a network does not exist, does not accept the images, or its weights cannot be
            had; it cannot be trained as configured, or is another one in training mode; a member
            has no second derivative, or declares no taps but mutual distillation needs them; the
            formation factor does not divide the image size; there are fewer than two classes, or
            fewer than replicas or shards; a class has fewer images than the synthetic ones start
            from, or the condensed set to start from does not fit.
    """
    for member in config.pool.members:
        if member.replicas > len(info.class_names):
            raise InputError(
                f"pool.members.{member.name}.replicas is {member.replicas}, but data {info.source!r} has "
                f"{len(info.class_names)} classes, which replicas share: use at most as many"
            )
    shards = config.cluster.server_shards
    if shards is not None and shards > len(info.class_names):
        raise InputError(
            f"cluster.server_shards is {shards}, but data {info.source!r} has {len(info.class_names)} "
            "classes, which shards share: use at most as many"
        )
    if len(info.class_names) < 2:
        raise InputError(f"data {info.source!r} has {len(info.class_names)} class, condensation needs at least 2")
    check_formation(config.images.formation, info.shape.height, info.shape.width)
    check_class_sizes(config.images, info)
    read_initial_set(config.images, info)
    networks = _Networks(info)
    members = [_check_member(config, member, networks, info) for member in config.pool.members]
    _check_students(config, info, networks)
    return members


def validate_students(config: RunConfig, info: DatasetInfo) -> None:
    """Build every network of the evaluation once, the teacher included, and try a step of its
    training.

    Raises:
        InputError: a network does not exist, does not accept the images, or cannot be trained, its
            weights cannot be had, or the split has no images.
    """
    _check_students(config, info, _Networks(info))


class _Networks:
    """Builds networks for a data set and tries them; equal ones only once, because large ones take
    seconds."""

    def __init__(self, info: DatasetInfo) -> None:
        self._info = info
        self._built: dict[str, Network] = {}
        self._passed: set[tuple[Network, Callable[..., None], tuple[Any, ...]]] = set()

    def build(self, field: str, section: NetworkSection, options: Mapping[str, Any]) -> Network:
        """The section's network with ``options``; an error names ``field``."""
        identity = json.dumps([section.architecture, options, section.weights, section.statistics], sort_keys=True)
        if identity not in self._built:
            shape, classes = self._info.shape, len(self._info.class_names)
            try:
                key, space = Key(0, "network"), self._info.normalisation
                self._built[identity] = build_section(section, shape, classes, key, space, options)
            except InputError as error:
                raise InputError(f"{field}: {error}") from error
        return self._built[identity]

    def rehearse(self, field: str, network: Network, step: Callable[..., None], *arguments: Any) -> None:
        """Try a step of :mod:`hmdc_ray.matching.rehearsal` on a network that was built here; an
        error names ``field``."""
        if (network, step, arguments) in self._passed:
            return
        try:
            step(network, *arguments)
        except InputError as error:
            raise InputError(f"{field} ({network.architecture!r}) {error}") from error
        self._passed.add((network, step, arguments))


def _check_member(config: RunConfig, member: MemberConfig, networks: _Networks, info: DatasetInfo) -> Network:
    """Build a member in all its forms; returns the first."""
    field = f"pool.members.{member.name}"
    draws = option_draws(member.random_options)
    forms = [networks.build(field + note, member, {**member.options, **drawn}) for note, drawn in draws]
    distils, images = config.matching.mutual_distillation and len(config.pool.members) > 1, _smallest_batch(config, info)
    for network in forms:
        networks.rehearse(field, network, rehearse_matching, distils)
        if images:
            networks.rehearse(field, network, rehearse_training, images, distils)
        if distils and config.matching.agreement == "standardised" and config.schedule.batch == 1:
            raise InputError(
                "schedule.batch is 1, but matching.agreement 'standardised' needs the spread of features over a batch: "
                "must be at least 2"
            )
        if distils and not network.taps:
            raise InputError(
                f"{field} ({member.architecture!r}) has no taps, which matching.mutual_distillation "
                "needs: let its factory return an Architecture with taps, or set mutual_distillation to false"
            )
    return forms[0]


def _smallest_batch(config: RunConfig, info: DatasetInfo) -> int:
    """Images in a member's smallest training batch, where more than 2 count as 2; 0 without
    training."""
    schedule, images = config.schedule, config.images
    if schedule.training == "none" or schedule.steps == 1:
        return 0
    total = min(schedule.real_images, info.sizes["train"])
    if schedule.training == "synthetic":
        total = len(info.class_names) * images.ipc * images.formation**2
    sizes: list[int] = [places.stop - places.start for places in batch_slices(total, schedule.batch)]
    return min(2, *sizes)


def _check_students(config: RunConfig, info: DatasetInfo, networks: _Networks) -> None:
    evaluation = config.evaluation
    for student in evaluation.students:
        field = f"evaluation.students.{student.name}"
        networks.rehearse(field, networks.build(field, student, student.options), rehearse_training, 2)
    if evaluation.distillation is not None:
        teacher = evaluation.distillation.teacher
        field = "evaluation.distillation.teacher"
        networks.rehearse(field, networks.build(field, teacher, teacher.options), rehearse_training, 2)
    require_validation(evaluation, info)
    if not info.sizes[evaluation.split]:
        raise InputError(f"evaluation.split is {evaluation.split!r}, which has no images in data {info.source!r}")
