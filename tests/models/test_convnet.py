"""ConvNet: its size in the DC protocol, all its forms, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hmdc_ray.models import ImageShape
from models.networks import CIFAR, MNIST, draw, gradient, make, parameters, refusal


def test_tap_sizes_of_the_default_convnet() -> None:
    taps = make("convnet", MNIST).taps
    assert [(tap.module, tap.kind, tap.channels, tap.height, tap.width) for tap in taps] == [
        ("blocks.0", "map", 128, 16, 16),
        ("blocks.1", "map", 128, 8, 8),
        ("blocks.2", "map", 128, 4, 4),
    ]


@pytest.mark.parametrize("norm", ["instance", "batch", "layer", "group", "none"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "leakyrelu", "swish"])
@pytest.mark.parametrize("pooling", ["avg", "max", "none"])
def test_every_convnet_of_the_random_pool_matches_gradients(norm: str, activation: str, pooling: str) -> None:
    network = make("convnet", ImageShape(1, 8, 8), width=4, depth=2, norm=norm, activation=activation, pooling=pooling)
    images_BCHW = draw(network.image_shape).requires_grad_()
    squares = [(g**2).sum() for g in gradient(network, images_BCHW, create_graph=True)]
    (update_BCHW,) = torch.autograd.grad(torch.stack(squares).sum(), images_BCHW)
    assert torch.isfinite(update_BCHW).all()


@pytest.mark.parametrize(
    ("options", "colour", "grey"),
    [({}, 320_010, 317_706), ({"depth": 1}, 331_530, 329_226), ({"norm": "layer"}, 663_306, 661_002)],
)
def test_parameters_are_those_of_the_dc_protocol(options: dict[str, Any], colour: int, grey: int) -> None:
    assert [parameters(make("convnet", shape, **options)) for shape in (CIFAR, MNIST)] == [colour, grey]


def test_images_smaller_than_all_poolings_and_odd_groups_are_refused() -> None:
    assert "images are 3x8x8, must be at least 16x16 pixels" in refusal("convnet", ImageShape(3, 8, 8), depth=4)
    assert "images are 1x28x28, must be at least 60x60 pixels" in refusal("convnet", MNIST, depth=6)
    assert "norm 'group' meets 6 channels" in refusal("convnet", width=6, norm="group")
