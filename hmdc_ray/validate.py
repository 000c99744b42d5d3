"""Checks of a configuration against its data, made before anything is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from hmdc_ray.config import MemberConfig, NetworkSection, RunConfig
from hmdc_ray.data.packing import check_formation
from hmdc_ray.data.schema import DatasetInfo, check_class_sizes
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.temperature import require_validation
from hmdc_ray.initial_set import read_initial_set
from hmdc_ray.matching.gradients import classification_gradient
from hmdc_ray.models.batchnorm import freeze_batchnorm
from hmdc_ray.models.network import Network
from hmdc_ray.models.registry import build
from hmdc_ray.seeding import Key, forked


def validate(config: RunConfig, info: DatasetInfo) -> list[Network]:
    """Build every network of the pool and of the evaluation, on the data's shape; equal ones once.

    A member with random options is built with each value of each option, the others at their first value.

    Returns:
        The networks of the pool's members, in order, random options at their first values.

    Raises:
        InputError: a network does not exist or does not admit the images, or its weights cannot be had; a member has no
            second derivative, or declares no taps but mutual distillation needs them; the formation factor does not divide
            the image; fewer than two classes, or fewer than replicas or shards; a class with fewer images than the synthetic
            ones start from, or a condensed set that they cannot start from.
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
    members = [_check_member(config, member, networks) for member in config.pool.members]
    _check_students(config, info, networks)
    return members


def validate_students(config: RunConfig, info: DatasetInfo) -> None:
    """Build every network of the evaluation once, the teacher included.

    Raises:
        InputError: a network does not exist or does not admit the images, its weights cannot be had, or the split has no
            images.
    """
    _check_students(config, info, _Networks(info))


class _Networks:
    """Builds networks for a data set, and equal ones once: large ones take seconds."""

    def __init__(self, info: DatasetInfo) -> None:
        self._info = info
        self._built: dict[str, Network] = {}

    def build(self, field: str, section: NetworkSection, options: Mapping[str, Any]) -> Network:
        """The section's network with ``options``; an error names ``field``."""
        identity = json.dumps([section.architecture, options, section.weights, section.statistics], sort_keys=True)
        if identity not in self._built:
            shape, classes = self._info.shape, len(self._info.class_names)
            try:
                network = build(
                    section.architecture,
                    options,
                    shape,
                    classes,
                    Key(0, "network"),
                    section.weights,
                    statistics=section.statistics,
                    space=self._info.normalisation,
                )
            except InputError as error:
                raise InputError(f"{field}: {error}") from error
            self._built[identity] = network
        return self._built[identity]


def _check_member(config: RunConfig, member: MemberConfig, networks: _Networks) -> Network:
    """Build a member in all its forms; returns the first."""
    field = f"pool.members.{member.name}"
    forms = [networks.build(field + note, member, {**member.options, **drawn}) for note, drawn in _draws(member.random_options)]
    for network in forms:
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise InputError(f"{field} ({member.architecture!r}) has no parameter to train, it needs at least one")
        _require_second_derivative(field, network)
        if config.matching.mutual_distillation and len(config.pool.members) > 1 and not network.taps:
            raise InputError(
                f"{field} ({member.architecture!r}) has no taps, which matching.mutual_distillation "
                "needs: let its factory return an Architecture with taps, or set mutual_distillation to false"
            )
    return forms[0]


def _draws(random_options: Mapping[str, list[Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Options as they may be drawn, with a note for errors: the first values, then every other value by itself."""
    first = {name: values[0] for name, values in random_options.items()}
    yield "", first
    for name, values in random_options.items():
        for value in values[1:]:
            yield f" with random_options.{name} {value!r}", {**first, name: value}


def _require_second_derivative(field: str, network: Network) -> None:
    """Match a gradient once, on one image, for some layers of other libraries can be trained but not matched."""
    shape, key = network.image_shape, Key(0, "network")
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    images_BCHW = torch.randn(1, shape.channels, shape.height, shape.width, generator=key.generator()).requires_grad_()
    freeze_batchnorm(network, True)  # as in matching; it also admits a single image
    try:
        with forked(key):
            logits_BK = network(images_BCHW)
        gradients = classification_gradient(logits_BK, torch.zeros(1, dtype=torch.int64), parameters, create_graph=True)
        squares = torch.stack([(gradient**2).sum() for gradient in gradients]).sum()
        torch.autograd.grad(squares, images_BCHW, allow_unused=True)
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        raise InputError(
            f"{field} ({network.architecture!r}) has no second derivative ({error}), which gradient matching needs: "
            "choose other layers, or use the network in the evaluation only"
        ) from error
    finally:
        freeze_batchnorm(network, False)


def _check_students(config: RunConfig, info: DatasetInfo, networks: _Networks) -> None:
    evaluation = config.evaluation
    for student in evaluation.students:
        networks.build(f"evaluation.students.{student.name}", student, student.options)
    if evaluation.distillation is not None:
        teacher = evaluation.distillation.teacher
        networks.build("evaluation.distillation.teacher", teacher, teacher.options)
    require_validation(evaluation, info)
    if not info.sizes[evaluation.split]:
        raise InputError(f"evaluation.split is {evaluation.split!r}, which has no images in data {info.source!r}")
