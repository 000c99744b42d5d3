"""Networks of timm and torchvision by name: ``timm:NAME`` (with or without the tag of its weights),
``torchvision:NAME``.

Options are those of the library's own constructor; number of classes and channels follow from the
data. Two more: ``taps``, a number of taps, fewer than the network has, and ``input_size`` (pixels,
or [height, width]), the size that images are brought to inside the network. Without it a network
from scratch takes the images' own size if it can, and otherwise, or if it is pretrained, the size
that the library made it for. A pretrained network has the mean and standard deviation that the
library names for its weights.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch
from torch import nn

from hmdc_ray.errors import InputError, closest
from hmdc_ray.models.factories import VARIADIC
from hmdc_ray.models.network import Architecture
from hmdc_ray.models.normalisation import Normalisation
from hmdc_ray.models.probe import outputs, zeros
from hmdc_ray.models.shape import ImageShape
from hmdc_ray.models.taps import TapSpec, evenly_spaced

Size = tuple[int, int]
"""Height and width in pixels."""

LIBRARIES = ("timm", "torchvision")

_SET_BY_US = {"self", "num_classes", "in_chans", "img_size", "image_size", "input_size", "device", "dtype"}
_OURS = {"input_size", "taps"}
# What a constructor raises when it is given an option that it cannot work with, or images that a
# network does not admit.
_REFUSALS = (TypeError, ValueError, RuntimeError, AssertionError, AttributeError, LookupError, ArithmeticError)


class Library(Protocol):
    """What the modules ``timm_library`` and ``torchvision_library`` know of their libraries."""

    LISTING: str
    """The call that lists the library's networks."""

    def names(self) -> list[str]:
        """All names of networks that classify images, those with the tag of their weights
        included."""

    def create(self, name: str, classes: int, channels: int, pretrained: bool, options: Mapping[str, Any]) -> nn.Module:
        """Make a network; what is not pretrained, the classifier always, is drawn from torch's
        global generator."""

    def channels(self, shape: ImageShape, pretrained: bool) -> int:
        """Channels that a network for images of this shape takes."""

    def normalisation(self, name: str, module: nn.Module) -> Normalisation | None:
        """Normalisation of the images that the pretrained weights were trained on; None where the
        library names none."""

    def default_size(self, module: nn.Module) -> Size:
        """The input size that the library made the network for."""

    def any_size(self, module: nn.Module) -> bool:
        """Whether the network may be tried on images of any size."""

    def candidates(self, module: nn.Module) -> tuple[str, ...]:
        """Submodules that may be taps, from input to output; none where the layout of the network
        is not known."""

    def taps(self, module: nn.Module, features: Mapping[str, Any]) -> tuple[TapSpec, ...]:
        """The taps among the candidates, by what these return for one image."""

    def classifier(self, module: nn.Module) -> str | None:
        """Dotted name of the classifier; None: the last ``nn.Linear``."""


def make_external(
    library: str, name: str, options: Mapping[str, Any], shape: ImageShape, classes: int, pretrained: bool
) -> Architecture:
    """Make a network of a library.

    Args:
        library: name of the library, one of :data:`LIBRARIES`.
        name: the library's name of the network.
        options: values of ``input_size``, ``taps``, and the constructor's own options.
        shape: native shape of the images.
        classes: number of logits.
        pretrained: whether the network gets the library's own weights, as the module
            ``hmdc_ray.models.<library>_library`` describes.

    Raises:
        InputError: no such network, option or weights; or the constructor refuses them.
    """
    # Imported here because timm takes seconds to import, which processes without its networks need
    # not wait for.
    source = cast(Library, importlib.import_module(f"hmdc_ray.models.{library}_library"))
    known = source.names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"{source.LISTING} lists all"
        raise InputError(f"{library} has no network {name!r}: {hint}")
    chosen = dict(options)
    size, fewer = _input_size(chosen.pop("input_size", None)), _tap_count(chosen.pop("taps", None))
    channels = source.channels(shape, pretrained)
    if chosen or size is not None:
        with _refusals(library, {}), torch.device("meta"):  # without memory and arithmetic
            known_options = _constructor_options(type(source.create(name, classes, channels, False, {})))
        for option in chosen:
            if option not in known_options - _SET_BY_US:
                raise InputError(f"unknown option {option!r}: {closest(option, known_options - _SET_BY_US | _OURS)}")
        if size is not None:
            chosen |= _size_option(size, known_options)
    with _refusals(library, options):
        module = source.create(name, classes, channels, pretrained, chosen)
    sizes = [size or source.default_size(module)]
    if size is None and not pretrained and source.any_size(module):
        sizes.insert(0, (shape.height, shape.width))
    size, features = _first_admitted(module, source.candidates(module), channels, sizes)
    own = source.normalisation(name, module) if pretrained else None
    taps = evenly_spaced(source.taps(module, features), fewer)
    return Architecture(module, taps, source.classifier(module), size, channels, own)


@contextmanager
def _refusals(library: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Turn what a constructor raises into one line for the user."""
    try:
        yield
    except InputError:
        raise
    except _REFUSALS as error:
        raise InputError(f"{library} cannot make it with options {dict(options)} ({type(error).__name__}: {error})") from error


def _input_size(value: Any) -> Size | None:
    sides = [value, value] if isinstance(value, int) else value
    if sides is None:
        return None
    if not isinstance(sides, list | tuple) or len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise InputError(f"option 'input_size' is {value!r}: it should be a number of pixels, or [height, width]")
    return sides[0], sides[1]


def _tap_count(value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise InputError(f"option 'taps' is {value!r}: it should be a number of taps, at least 1")
    return value


def _constructor_options(network: type[nn.Module]) -> set[str]:
    """Named parameters of a constructor, and of its bases' as long as it passes on what it does not
    name."""
    names: set[str] = set()
    for base in network.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters
            kinds = {name: parameter.kind for name, parameter in parameters.items()}
            names |= {name for name, kind in kinds.items() if kind not in VARIADIC}
            if inspect.Parameter.VAR_KEYWORD not in kinds.values():
                break
    return names


def _size_option(size: Size, known: set[str]) -> dict[str, Any]:
    """The size as the constructor of a network of one size takes it; nothing for a network of any
    size."""
    if "img_size" in known:  # timm
        return {"img_size": size}
    if "image_size" in known:  # torchvision's ViT, for square images
        return {"image_size": size[0]}
    return {"input_size": size} if "input_size" in known else {}


def _first_admitted(
    module: nn.Module, candidates: tuple[str, ...], channels: int, sizes: list[Size]
) -> tuple[Size, dict[str, Any]]:
    """The first size that the network works on, or the last, and what the candidates return for
    it."""
    for size in sizes:
        try:
            return size, outputs(module, candidates, zeros(module, 1, channels, *size))
        except _REFUSALS:
            continue  # whether it works on no size, and why, the network's own dry run says
    return sizes[-1], {}
