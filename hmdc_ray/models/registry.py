"""The registry of architectures, and the one way to make a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from torch import nn

from hmdc_ray.config import NetworkSection
from hmdc_ray.errors import InputError, closest
from hmdc_ray.models.external import LIBRARIES, make_external
from hmdc_ray.models.factories import Factory, check_options, import_factory, option_parameters
from hmdc_ray.models.network import Architecture, Network
from hmdc_ray.models.normalisation import Normalisation
from hmdc_ray.models.parameters import require_initialised, require_plain
from hmdc_ray.models.shape import ImageShape
from hmdc_ray.models.weights import CHECKPOINT, load_weights
from hmdc_ray.seeding import Key, forked

AnyFactory = TypeVar("AnyFactory", bound=Factory)


@dataclass(frozen=True)
class Entry:
    """A registered architecture.

    Attributes:
        description: one line for people.
        factory: function called as ``factory(shape, classes, **options)``.
        options: names and defaults of its options.
    """

    description: str
    factory: Factory
    options: Mapping[str, Any]


_ENTRIES: dict[str, Entry] = {}


def register(name: str, description: str) -> Callable[[AnyFactory], AnyFactory]:
    """Decorate a factory ``factory(shape, classes, **options) -> Architecture`` to make it known by
    a name.

    Options are read from the signature; annotations give their types and ranges.

    Args:
        name: the registry name.
        description: one line for people.

    Raises:
        ValueError: the name is taken.
    """

    def add(factory: AnyFactory) -> AnyFactory:
        if name in _ENTRIES:
            raise ValueError(f"architecture {name!r} is registered already, as {_ENTRIES[name].factory}")
        defaults = {option: parameter.default for option, parameter in option_parameters(factory).items()}
        _ENTRIES[name] = Entry(description, factory, MappingProxyType(defaults))
        return factory

    return add


def registered() -> Mapping[str, Entry]:
    """All registered architectures by name; a read-only view."""
    return MappingProxyType(_ENTRIES)


def build(
    architecture: str,
    options: Mapping[str, Any],
    shape: ImageShape,
    classes: int,
    key: Key,
    weights: str = "scratch",
    *,
    statistics: Literal["own", "data"] = "own",
    space: Normalisation | None = None,
) -> Network:
    """Make a network that is ready to be trained; the same key and origin give the same weights.

    Args:
        architecture: a registered name; ``timm:NAME`` or ``torchvision:NAME`` (see
            :mod:`hmdc_ray.models.external`); or the import path ``package.module:factory`` of a
            function that is called like the registered ones and returns an :class:`Architecture`,
            or a bare ``nn.Module``, which then has no taps.
        options: the factory's options.
        shape: native shape of the images.
        classes: number of classes, at least 1.
        key: key of the random weights; torch's global generators stay as they were.
        weights: origin of the weights: ``scratch``; ``pretrained``, the library's own with a fresh
            classifier (timm and torchvision only); or ``checkpoint:PATH``, a file of
            :func:`hmdc_ray.models.weights.save_weights`.
        statistics: normalisation of the images that the module sees. ``own``: by the mean and
            standard deviation that its weights were trained with, where the library, the file or
            the factory's :class:`Architecture` names them; ``data``: that of the data.
        space: normalisation of the images; None: unknown, and they are passed on unchanged.

    Raises:
        InputError: unknown architecture or option; a network that does not fit the images or its
            own declaration, or has parameters that are not plain (see
            :mod:`hmdc_ray.models.parameters`); weights that cannot be had or do not fit.
    """
    assert weights in ("scratch", "pretrained") or weights.startswith(CHECKPOINT), weights
    try:
        with forked(key):
            made = _make(architecture, options, shape, classes, weights == "pretrained")
            require_plain(made.module)
            network = Network(made, shape, classes)
            require_initialised(network.module)
        network.architecture, network.options = architecture, dict(options)
        if weights.startswith(CHECKPOINT):
            load_weights(network, Path(weights.removeprefix(CHECKPOINT)))
        network.set_normalisation(space, network.own if statistics == "own" else None)
        return network
    except InputError as error:
        raise InputError(f"architecture {architecture!r}: {error}") from error


def build_section(
    section: NetworkSection,
    shape: ImageShape,
    classes: int,
    key: Key,
    space: Normalisation | None,
    options: Mapping[str, Any] | None = None,
) -> Network:
    """:func:`build` for a section of the configuration; ``options`` take the place of its own."""
    chosen = section.options if options is None else options
    weights, statistics = section.weights, section.statistics
    return build(section.architecture, chosen, shape, classes, key, weights, statistics=statistics, space=space)


def _make(architecture: str, options: Mapping[str, Any], shape: ImageShape, classes: int, pretrained: bool) -> Architecture:
    library, _, name = architecture.partition(":")
    if library in LIBRARIES:
        return make_external(library, name, options, shape, classes, pretrained)
    if pretrained:
        raise InputError(
            "weights are 'pretrained', which only architectures timm:NAME and torchvision:NAME have: "
            "must be scratch or checkpoint:PATH"
        )
    factory = _find(architecture)
    made = factory(shape, classes, **check_options(factory, options))
    if isinstance(made, nn.Module):
        made = Architecture(made)
    if not isinstance(made, Architecture):
        raise InputError(f"the factory returns a {type(made).__name__}, must return an Architecture or an nn.Module")
    return made


def _find(architecture: str) -> Factory:
    if ":" in architecture:
        return import_factory(architecture)
    if architecture not in _ENTRIES:
        raise InputError(
            f"unknown, {closest(architecture, _ENTRIES)}; others: 'timm:NAME', 'torchvision:NAME', "
            "and a network of your own: 'package.module:factory'"
        )
    return _ENTRIES[architecture].factory
