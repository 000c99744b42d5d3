"""The contract that every registered architecture keeps."""

from __future__ import annotations

import gc
import pickle
import weakref
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hmdc_ray.models import ImageShape, Network, build, registered
from hmdc_ray.seeding import Key
from models.networks import CIFAR, CLASSES, DIGITS, KEY, MNIST, draw, gradient

# Reduced sizes, so that the whole contract runs in seconds; the defaults are built by the tests of
# each architecture.
REDUCED: dict[str, dict[str, Any]] = {
    "alexnet": {"width": 8},
    "convnet": {"width": 8},
    "lenet": {},
    "mlp": {"width": 8},
    "resnet18": {"width": 8},
    "vgg11": {"width": 8},
    "vit": {"width": 24, "depth": 5, "heads": 3},
}


# Of timm a convolutional network and a transformer, and one of torchvision, which has no smaller
# form.
OF_LIBRARIES: dict[str, dict[str, Any]] = {
    "timm:test_resnet": {"zero_init_last": False},  # zero: half of its weights start with gradient 0
    "timm:test_vit": {"input_size": 32, "patch_size": 8},
    "torchvision:resnet18": {},
}


OPTIONS = REDUCED | OF_LIBRARIES


CASES = [pytest.param(name, shape, id=f"{name}-{shape}") for name in OPTIONS for shape in (MNIST, CIFAR, DIGITS)]


@cache
def make(name: str, shape: ImageShape) -> Network:
    return build(name, OPTIONS[name], shape, CLASSES, KEY)


def test_every_registered_architecture_is_under_contract() -> None:
    assert set(REDUCED) == set(registered())


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_every_parameter_receives_a_gradient(name: str, shape: ImageShape) -> None:
    gradients = gradient(make(name, shape), draw(shape))  # an unused parameter would raise
    assert all(torch.isfinite(g).all() for g in gradients)
    # A bias in front of a norm may have gradient 0, a weight may not.
    assert all(g.abs().max() > 0 for g in gradients if g.ndim > 1)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_gradient_matching_reaches_the_images(name: str, shape: ImageShape) -> None:
    network = make(name, shape)
    real = gradient(network, draw(shape, seed=1))
    images_BCHW = draw(shape, seed=2).requires_grad_()
    synthetic = gradient(network, images_BCHW, create_graph=True)
    distance = torch.stack([((r - s) ** 2).sum() for r, s in zip(real, synthetic, strict=True)]).sum()
    (update_BCHW,) = torch.autograd.grad(distance, images_BCHW)
    assert torch.isfinite(update_BCHW).all()
    assert update_BCHW.abs().max() > 0


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_taps_are_as_declared_and_distillable(name: str, shape: ImageShape) -> None:
    network = make(name, shape)
    images_BCHW = draw(shape, images=3).requires_grad_()
    observed = network.observe(images_BCHW)
    assert observed.logits_BK.shape == (3, CLASSES)
    assert len(observed.features) == len(network.taps) >= 2
    for tap, feature in zip(network.taps, observed.features, strict=True):
        expected = {
            "map": (3, tap.channels, tap.height, tap.width),
            "tokens": (3, 1 + tap.height * tap.width, tap.channels),
            "vector": (3, tap.channels),
        }[tap.kind]
        assert feature.shape == expected
        assert (tap.height == tap.width == 0) == (tap.kind == "vector")
        first = torch.autograd.grad((feature**2).mean(), list(network.parameters()), create_graph=True, allow_unused=True)
        used = torch.stack([(g**2).sum() for g in first if g is not None]).sum()
        (second_BCHW,) = torch.autograd.grad(used, images_BCHW, retain_graph=True)
        assert torch.isfinite(second_BCHW).all()


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_embedding_is_the_input_of_the_classifier(name: str, shape: ImageShape) -> None:
    network = make(name, shape)
    images_BCHW = draw(shape)
    observed = network.observe(images_BCHW)
    *_, weight_KD, bias_K = network.parameters()
    assert torch.equal(F.linear(observed.embedding_BD, weight_KD, bias_K), observed.logits_BK)
    assert torch.equal(observed.logits_BK, network(images_BCHW))


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_pickles(name: str, shape: ImageShape) -> None:
    network = make(name, shape)
    network.observe(draw(shape))
    copy = pickle.loads(pickle.dumps(network))
    assert torch.equal(copy(draw(shape)), network(draw(shape)))
    assert (copy.taps, copy.image_shape, copy.classes) == (network.taps, shape, CLASSES)


@pytest.mark.parametrize("name", OPTIONS)
def test_weights_come_from_the_key_alone(name: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = build(name, OPTIONS[name], CIFAR, CLASSES, KEY)
    assert torch.equal(torch.get_rng_state(), before)
    other = build(name, OPTIONS[name], CIFAR, CLASSES, Key(0, "network", iteration=1))
    weights = torch.nn.utils.parameters_to_vector(make(name, CIFAR).parameters())
    assert torch.equal(torch.nn.utils.parameters_to_vector(again.parameters()), weights)
    assert not torch.equal(torch.nn.utils.parameters_to_vector(other.parameters()), weights)


@pytest.mark.parametrize("name", OPTIONS)
def test_observation_keeps_nothing_alive(name: str) -> None:
    network = make(name, CIFAR)
    observed = network.observe(draw(CIFAR))
    kept = [weakref.ref(tensor) for tensor in (observed.logits_BK, observed.embedding_BD, *observed.features)]
    del observed
    gc.collect()
    assert all(reference() is None for reference in kept)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("shape", [ImageShape(2, 64, 64), ImageShape(4, 40, 32)], ids=str)
def test_other_channel_counts_and_sizes(name: str, shape: ImageShape) -> None:
    network = build(name, REDUCED[name], shape, 3, KEY)
    assert network(draw(shape)).shape == (2, 3)


@pytest.mark.parametrize("norm", ["batch", "group", "layer", "none"])
@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
def test_norms_of_the_deep_families(name: str, norm: str) -> None:
    network = build(name, {"width": 4, "norm": norm}, CIFAR, CLASSES, KEY)
    assert network(draw(CIFAR)).shape == (2, CLASSES)
