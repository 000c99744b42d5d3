"""The contract that every registered architecture keeps, and the parameter counts of the DC protocol."""

from __future__ import annotations

import gc
import math
import pickle
import weakref
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hmdc_ray.errors import InputError
from hmdc_ray.models import ImageShape, Network, build, registered
from hmdc_ray.seeding import Key

CLASSES = 10
KEY = Key(0, "network")
MNIST = ImageShape(1, 28, 28)
CIFAR = ImageShape(3, 32, 32)
DIGITS = ImageShape(1, 16, 16)

# Reduced sizes, so that the whole contract runs in seconds; the defaults are built by the parameter counts below.
REDUCED: dict[str, dict[str, Any]] = {
    "alexnet": {"width": 8},
    "convnet": {"width": 8},
    "lenet": {},
    "mlp": {"width": 8},
    "resnet18": {"width": 8},
    "vgg11": {"width": 8},
    "vit": {"width": 24, "depth": 5, "heads": 3},
}
# Of timm a convolutional network and a transformer, and one of torchvision, which has no smaller form.
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


def draw(shape: ImageShape, images: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, shape.channels, shape.height, shape.width, generator=generator)


def gradient(network: Network, images_BCHW: Tensor, create_graph: bool = False) -> tuple[Tensor, ...]:
    labels_B = torch.arange(len(images_BCHW)) % CLASSES
    loss = F.cross_entropy(network(images_BCHW), labels_B)
    return torch.autograd.grad(loss, list(network.parameters()), create_graph=create_graph)


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


@pytest.mark.parametrize(
    ("name", "options", "colour", "grey"),
    [
        ("convnet", {}, 320_010, 317_706),
        ("convnet", {"depth": 1}, 331_530, 329_226),
        ("convnet", {"norm": "layer"}, 663_306, 661_002),
        ("mlp", {}, 411_146, 118_282),
        ("lenet", {}, 62_006, 61_706),
        ("alexnet", {}, 1_872_202, 1_865_802),
        ("vgg11", {}, 9_231_114, 9_229_962),
        ("resnet18", {}, 11_173_962, 11_172_810),
    ],
)
def test_parameter_counts_of_the_dc_protocol(name: str, options: dict[str, Any], colour: int, grey: int) -> None:
    for shape, count in ((CIFAR, colour), (MNIST, grey)):
        network = build(name, options, shape, CLASSES, KEY)
        assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(
    ("shape", "width", "depth", "patches"), [(CIFAR, 192, 12, 64), (MNIST, 192, 12, 49), (DIGITS, 64, 3, 16)]
)
def test_vit_follows_the_image_size(shape: ImageShape, width: int, depth: int, patches: int) -> None:
    network = build("vit", {}, shape, CLASSES, KEY)
    side = math.isqrt(patches)
    assert {(tap.channels, tap.height, tap.width) for tap in network.taps} == {(width, side, side)}
    assert [tap.module for tap in network.taps] == [f"blocks.{block}" for block in range(depth)]


@pytest.mark.parametrize(
    ("depth", "taps", "blocks"), [(12, 4, [2, 5, 8, 11]), (7, 3, [1, 3, 6]), (2, 1, [1]), (5, 5, range(5))]
)
def test_a_vit_has_as_many_taps_as_are_asked_for(depth: int, taps: int, blocks: list[int]) -> None:
    network = build("vit", {"depth": depth, "width": 8, "heads": 2, "taps": taps}, DIGITS, CLASSES, KEY)
    assert [tap.module for tap in network.taps] == [f"blocks.{block}" for block in blocks]
    with pytest.raises(InputError, match=f"option 'taps' is {depth + 1}, but the network has {depth}: must be 1 to that many"):
        build("vit", {"depth": depth, "width": 8, "heads": 2, "taps": depth + 1}, DIGITS, CLASSES, KEY)


@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        (CIFAR, [16, 8, 4, 2, 1]),
        (MNIST, [16, 8, 4, 2, 1]),
        (DIGITS, [8, 4, 2, 2, 1]),
        (ImageShape(3, 28, 28), [14, 7, 3, 3, 1]),
        (ImageShape(3, 8, 8), [4, 2, 2, 2, 1]),
    ],
    ids=str,
)
def test_small_images_are_pooled_less_often_so_that_no_norm_sees_a_single_pixel(shape: ImageShape, sides: list[int]) -> None:
    network = build("vgg11", {"width": 8}, shape, CLASSES, KEY)
    assert [tap.height for tap in network.taps] == [tap.width for tap in network.taps] == sides
    maps = network.observe(draw(shape)).features
    assert all(each.flatten(1).std(dim=0).max() > 0 for each in maps), "a stage tells no image from another"


def test_tap_sizes_of_the_default_convnet() -> None:
    taps = build("convnet", {}, MNIST, CLASSES, KEY).taps
    assert [(tap.module, tap.kind, tap.channels, tap.height, tap.width) for tap in taps] == [
        ("blocks.0", "map", 128, 16, 16),
        ("blocks.1", "map", 128, 8, 8),
        ("blocks.2", "map", 128, 4, 4),
    ]


@pytest.mark.parametrize("norm", ["instance", "batch", "layer", "group", "none"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "leakyrelu", "swish"])
@pytest.mark.parametrize("pooling", ["avg", "max", "none"])
def test_every_convnet_of_the_random_pool_matches_gradients(norm: str, activation: str, pooling: str) -> None:
    options = {"width": 4, "depth": 2, "norm": norm, "activation": activation, "pooling": pooling}
    network = build("convnet", options, ImageShape(1, 8, 8), CLASSES, KEY)
    images_BCHW = draw(network.image_shape).requires_grad_()
    squares = [(g**2).sum() for g in gradient(network, images_BCHW, create_graph=True)]
    (update_BCHW,) = torch.autograd.grad(torch.stack(squares).sum(), images_BCHW)
    assert torch.isfinite(update_BCHW).all()


@pytest.mark.parametrize("norm", ["batch", "group", "layer", "none"])
@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
def test_norms_of_the_deep_families(name: str, norm: str) -> None:
    network = build(name, {"width": 4, "norm": norm}, CIFAR, CLASSES, KEY)
    assert network(draw(CIFAR)).shape == (2, CLASSES)


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        ("vgg11", {}, ImageShape(1, 6, 16), "architecture 'vgg11': images are 1x6x16, must be at least 8x8 pixels"),
        ("convnet", {"depth": 4}, ImageShape(3, 8, 8), "images are 3x8x8, must be at least 16x16 pixels"),
        ("convnet", {"depth": 6}, MNIST, "images are 1x28x28, must be at least 60x60 pixels"),
        ("lenet", {}, ImageShape(1, 8, 12), "images are 1x8x12, must be at least 12x12 pixels"),
        ("lenet", {}, ImageShape(3, 14, 14), "must be at least 16x16 pixels"),
        ("alexnet", {}, ImageShape(3, 4, 4), "must be at least 8x8 pixels"),
        ("resnet18", {}, ImageShape(3, 8, 8), "use larger images or another norm"),
        ("vit", {}, ImageShape(3, 30, 32), "images are 3x30x32, their sides must be multiples of patch_size, which is 4"),
        ("vit", {"width": 64}, CIFAR, "option 'width' is 64, must be a multiple of heads, which is 3"),
        ("convnet", {"width": 6, "norm": "group"}, CIFAR, "norm 'group' meets 6 channels"),
    ],
)
def test_refuses_what_an_architecture_does_not_admit(
    name: str, options: dict[str, Any], shape: ImageShape, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        build(name, options, shape, CLASSES, KEY)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
