"""Images and networks that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hmdc_ray.errors import InputError
from hmdc_ray.models import ImageShape, Network, build
from hmdc_ray.seeding import Key, forked

CLASSES = 10
KEY = Key(0, "network")
MNIST = ImageShape(1, 28, 28)
CIFAR = ImageShape(3, 32, 32)
DIGITS = ImageShape(1, 16, 16)


def make(architecture: str, shape: ImageShape = CIFAR, **options: Any) -> Network:
    return build(architecture, options, shape, CLASSES, KEY)


def pretrained(architecture: str, classes: int = 5, seed: int = 0, **options: Any) -> Network:
    return build(architecture, options, MNIST, classes, Key(seed, "network"), "pretrained")


def random_state(create: Callable[[], torch.nn.Module]) -> dict[str, Tensor]:
    """Weights for caches that tests fill; nothing is downloaded."""
    with forked(Key(7, "network")):
        return create().state_dict()


def refusal(architecture: str, shape: ImageShape = CIFAR, weights: str = "scratch", **options: Any) -> str:
    """The line with which it is refused, after the architecture's name."""
    with pytest.raises(InputError) as caught:
        build(architecture, options, shape, CLASSES, KEY, weights)
    start, line = f"architecture {architecture!r}: ", str(caught.value)
    assert line.startswith(start) and "\n" not in line
    return line.removeprefix(start)


def parameters(network: Network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def tap_sizes(network: Network) -> list[tuple[str, int, int, int]]:
    return [(tap.module, tap.channels, tap.height, tap.width) for tap in network.taps]


def draw(shape: ImageShape, images: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, shape.channels, shape.height, shape.width, generator=generator)


def gradient(network: Network, images_BCHW: Tensor, create_graph: bool = False) -> tuple[Tensor, ...]:
    labels_B = torch.arange(len(images_BCHW)) % CLASSES
    loss = F.cross_entropy(network(images_BCHW), labels_B)
    return torch.autograd.grad(loss, list(network.parameters()), create_graph=create_graph)
