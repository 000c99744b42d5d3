"""Networks with the layers made for gradient matching against the same networks with torch's
own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hmdc_ray.matching.gradients import classification_gradient, classification_target
from hmdc_ray.models import ImageShape, build
from hmdc_ray.models.average_pool import AveragePool
from hmdc_ray.models.convolution import Convolution
from hmdc_ray.models.fast_layers import use_fast_layers
from hmdc_ray.models.instance_norm import InstanceNorm
from hmdc_ray.models.network import Network
from hmdc_ray.models.plain import plain_layers
from hmdc_ray.seeding import Key

SHAPE = ImageShape(3, 16, 16)
NETWORKS = {"convnet": {"width": 32}, "lenet": {}, "vit": {"depth": 1}}


def made(architecture: str) -> Network:
    return build(architecture, NETWORKS[architecture], SHAPE, 4, Key(1, "network"))


def target(network: Network) -> tuple[Tensor, Tensor]:
    """The distance between gradients on real and synthetic images of a class, and its
    derivative."""
    generator = torch.Generator().manual_seed(9)
    real, synthetic = (torch.randn(count, 3, 16, 16, generator=generator) for count in (6, 3))
    images = synthetic.requires_grad_()
    parameters = list(network.eval().parameters())
    labels = torch.zeros(6, dtype=torch.long)
    constants = classification_gradient(network(real), labels, parameters, create_graph=False)
    gradients = classification_gradient(network(images), labels[:3], parameters, create_graph=True)
    return classification_target("mse", constants, gradients, images, keep_graph=False)


@pytest.mark.parametrize("architecture", NETWORKS)
def test_gradients_of_a_target_are_those_of_plain_layers(architecture: str) -> None:
    """In float32, to 1e-4 of their norm."""
    with plain_layers():
        plain = made(architecture)
    fast = made(architecture)
    for found, expected in zip(target(fast), target(plain), strict=True):
        assert (found - expected).norm() < 1e-4 * expected.norm()


def test_layers_that_are_replaced() -> None:
    with plain_layers():
        plain = {type(module) for module in made("convnet").modules()}
    fast = {type(module) for module in made("convnet").modules()}
    for ours in (Convolution, AveragePool, InstanceNorm):
        assert ours in fast and ours not in plain
        assert ours.__mro__[1] in plain and ours.__mro__[1] not in fast


def test_weights_and_random_draws_are_the_same() -> None:
    with plain_layers():
        plain = made("convnet").state_dict()
    fast = made("convnet").state_dict()
    assert list(fast) == list(plain)
    assert all(torch.equal(fast[name], plain[name]) for name in plain)


def test_what_is_not_torchs_own_is_left_alone() -> None:
    class Mine(nn.Conv2d):
        pass

    module = nn.Sequential(Mine(3, 4, 3), nn.GroupNorm(2, 4), nn.GroupNorm(4, 4, affine=False), nn.BatchNorm2d(4))
    before = [type(child) for child in module]
    use_fast_layers(module)
    assert [type(child) for child in module] == before
