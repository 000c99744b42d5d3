"""torchvision's networks, their taps, and their pretrained weights.

Taps are the four stages of a ResNet (and its relatives); of the networks whose ``features`` are a
sequence of maps, the last layer at each of the last four resolutions; otherwise none. torchvision's
networks take three channels.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision import models

from hmdc_ray.errors import InputError
from hmdc_ray.models.normalisation import Normalisation
from hmdc_ray.models.shape import ImageShape
from hmdc_ray.models.taps import TapSpec

LISTING = "torchvision.models.list_models()"
"""The call that lists all networks."""

_MOST_MAPS = 4
_SIZE = (224, 224)
_TIMEOUT = 10.0  # seconds to wait for the server
_SEQUENCES = (
    models.AlexNet,
    models.ConvNeXt,
    models.DenseNet,
    models.EfficientNet,
    models.MobileNetV2,
    models.MobileNetV3,
    models.VGG,
)


@cache
def names() -> list[str]:
    """All names of networks whose last layer is linear."""
    # SqueezeNet classifies by a convolution, so that it has no vector to embed images with.
    return sorted(name for name in models.list_models(module=models) if not name.startswith("squeezenet"))


def channels(shape: ImageShape, pretrained: bool) -> int:
    """3, for which grey is repeated."""
    del shape, pretrained
    return 3


def create(name: str, classes: int, channels: int, pretrained: bool, options: Mapping[str, Any]) -> nn.Module:
    """Make a network, see :class:`hmdc_ray.models.external.Library`; without auxiliary classifiers.

    Raises:
        InputError: the weights cannot be had or read.
    """
    assert channels == 3, channels
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True, **options}
    module: nn.Module = models.get_model(name, num_classes=classes, **options)
    if pretrained:
        _load(module, _state(name))
    return module


def normalisation(name: str, module: nn.Module) -> Normalisation | None:
    """Normalisation in the transforms of the weights; for networks that change it inside, the one
    that they change to."""
    if getattr(module, "transform_input", True) is False:  # GoogLeNet and Inception, which are made without it here
        return Normalisation((0.5,) * 3, (0.5,) * 3)
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    return Normalisation(tuple(transforms.mean), tuple(transforms.std))


def default_size(module: nn.Module) -> tuple[int, int]:
    """224x224, or what a vision transformer was made for."""
    side = getattr(module, "image_size", None)
    return (side, side) if isinstance(side, int) else _SIZE


def any_size(module: nn.Module) -> bool:
    """True: all may be tried, and vision transformers refuse."""
    del module
    return True


def candidates(module: nn.Module) -> tuple[str, ...]:
    """The stages of a ResNet; the layers of ``features`` where these are known to be maps."""
    if isinstance(module, models.ResNet):
        return ("layer1", "layer2", "layer3", "layer4")
    if isinstance(module, _SEQUENCES):
        return tuple(f"features.{name}" for name, _ in module.get_submodule("features").named_children())
    return ()


def taps(module: nn.Module, features: Mapping[str, Any]) -> tuple[TapSpec, ...]:
    """The last candidate at each of the last four resolutions; all stages of a ResNet, also where
    small maps stay the same."""
    ordered = [name for name in candidates(module) if isinstance(features.get(name), Tensor)]
    if not isinstance(module, models.ResNet):
        ordered = [list(layers)[-1] for _, layers in groupby(ordered, key=lambda name: features[name].shape[2:])]
    return tuple(TapSpec(name, "map") for name in ordered[-_MOST_MAPS:])


def classifier(module: nn.Module) -> str | None:
    """The last linear layer."""
    del module
    return None


def _load(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load all weights but those of the classifier, whose shape follows the number of classes."""
    expected = module.state_dict()
    *_, head = (name for name, child in module.named_modules() if isinstance(child, nn.Linear))
    for name in list(state):
        # Names of DenseNet's layers before torchvision 0.3, with which its weights were saved.
        modern = re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", name)
        tensor = state.pop(name)
        if modern.startswith(f"{head}."):
            state[modern] = expected[modern]
        elif not modern.lower().startswith("aux"):
            state[modern] = tensor
    module.load_state_dict(state)


def _state(name: str) -> dict[str, Tensor]:
    """The default weights, from torch's local cache or downloaded into it; unpickled as tensors
    alone."""
    weights = models.get_model_weights(name).DEFAULT
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    try:
        with _patience(_TIMEOUT):
            state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError as error:
        raise InputError(
            f"pretrained weights {path.name} are neither in the local cache nor reachable at {weights.url} ({error}): "
            f"put the file into {path.parent}, or use scratch or checkpoint:PATH"
        ) from error
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise InputError(f"pretrained weights {str(path)!r} cannot be read: delete the file to fetch it anew") from error
    return state


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Bound how long a server is waited for; torch's download sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
