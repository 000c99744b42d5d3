from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmdc_ray.errors import InputError
from hmdc_ray.models import Architecture, ImageShape, Network, TapSpec

SHAPE = ImageShape(3, 8, 8)


def small(**changes: Any) -> nn.Sequential:
    """Convolution, activation, flatten, linear head for 3x8x8 images and 5 classes."""
    parts: dict[str, nn.Module] = {
        "stem": nn.Conv2d(3, 4, 3, padding=1),
        "act": nn.ReLU(),
        "flatten": nn.Flatten(),
        "head": nn.Linear(256, 5),
    }
    return nn.Sequential(OrderedDict({**parts, **changes}))


class Tokens(nn.Module):
    """Class token and 16 patch tokens of 6 channels from 3x8x8 images; the head reads the class
    token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 6, 2, 2)
        self.block = nn.Linear(6, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        tokens = self.embed(images_BCHW).flatten(2).transpose(1, 2)
        tokens = self.block(torch.cat([tokens.mean(1, keepdim=True), tokens], 1))
        logits: Tensor = self.head(input=tokens[:, 0])
        return logits


class Pair(nn.Module):
    def forward(self, maps_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        return maps_BCHW, maps_BCHW


class TakesPair(nn.Module):
    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return pair[0]


def test_resizes_once_and_repeats_grey() -> None:
    seen: list[Tensor] = []

    class Recorder(nn.Module):
        def forward(self, images_BCHW: Tensor) -> Tensor:
            seen.append(images_BCHW)
            return images_BCHW

    module = nn.Sequential(Recorder(), nn.Flatten(), nn.Linear(3 * 8 * 6, 5))
    network = Network(Architecture(module, input_size=(8, 6), input_channels=3), ImageShape(1, 4, 4), 5)
    images_BCHW = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    network(images_BCHW)
    expected = F.interpolate(images_BCHW, (8, 6), mode="bilinear", align_corners=True)
    assert torch.equal(seen[-1], expected.expand(2, 3, 8, 6))


def test_images_of_the_right_size_are_passed_on_untouched() -> None:
    network = Network(Architecture(small()), SHAPE, 5)
    images_BCHW = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(images_BCHW), network.module(images_BCHW))


def test_construction_leaves_statistics_and_modes_alone() -> None:
    module = small(act=nn.BatchNorm2d(4))
    module.get_submodule("flatten").eval()
    Network(Architecture(module), SHAPE, 5)
    norm = module.get_submodule("act")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.num_batches_tracked == torch.tensor(0)
    assert torch.equal(norm.running_mean if norm.running_mean is not None else torch.ones(4), torch.zeros(4))
    assert [child.training for child in module.children()] == [True, True, False, True]


def test_inplace_activations_do_not_overwrite_features() -> None:
    network = Network(Architecture(small(act=nn.ReLU(inplace=True)), (TapSpec("stem", "map"),)), SHAPE, 5)
    images_BCHW = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    (feature,) = network.observe(images_BCHW).features
    assert torch.equal(feature, network.module.get_submodule("stem")(images_BCHW))
    assert feature.min() < 0


def test_last_output_of_a_module_called_twice_counts() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(192, 192)
            self.head = nn.Linear(192, 5)

        def forward(self, images_BCHW: Tensor) -> Tensor:
            logits: Tensor = self.head(self.layer(self.layer(images_BCHW.flatten(1))))
            return logits

    network = Network(Architecture(Twice(), (TapSpec("layer", "vector"),)), SHAPE, 5)
    observed = network.observe(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert observed.features[0] is observed.embedding_BD


def test_tokens_and_keyword_calls() -> None:
    network = Network(Architecture(Tokens(), (TapSpec("block", "tokens", (4, 4)),)), SHAPE, 5)
    assert [(tap.channels, tap.height, tap.width) for tap in network.taps] == [(6, 4, 4)]
    observed = network.observe(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(observed.embedding_BD, observed.features[0][:, 0])


def test_a_convolution_may_classify_maps_of_one_pixel() -> None:
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 5, 1), nn.Flatten())
    observed = Network(Architecture(module, classifier="1"), SHAPE, 5).observe(torch.ones(2, 3, 8, 8))
    assert torch.equal(observed.embedding_BD, torch.ones(2, 3))


def test_torchs_own_attention_has_a_second_derivative() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.head = nn.Linear(8, 5)

        def forward(self, images_BCHW: Tensor) -> Tensor:
            tokens = images_BCHW.flatten(1, 2)
            logits: Tensor = self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))
            return logits

    network = Network(Architecture(Attention(), classifier="head"), SHAPE, 5)
    images_BCHW = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    first = torch.autograd.grad(network(images_BCHW).square().sum(), list(network.parameters()), create_graph=True)
    (second,) = torch.autograd.grad(torch.stack([(g**2).sum() for g in first]).sum(), images_BCHW)
    assert torch.isfinite(second).all() and second.abs().max() > 0


def test_hooks_are_removed_when_the_forward_fails() -> None:
    network = Network(Architecture(small(), (TapSpec("stem", "map"),)), SHAPE, 5)
    with pytest.raises(AssertionError):
        network.observe(torch.zeros(2, 3, 9, 9))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_double_precision_modules_are_admitted() -> None:
    network = Network(Architecture(small().double(), (TapSpec("stem", "map"),)), SHAPE, 5)
    assert network.observe(torch.zeros(2, 3, 8, 8, dtype=torch.float64)).embedding_BD.dtype == torch.float64


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (Architecture(small(), (TapSpec("sten", "map"),)), "tap 'sten' is not a module of the network: did you mean 'stem'?"),
        (
            Architecture(small(), (TapSpec("", "map"),)),
            "tap '' is not a module of the network: known: act, flatten, head, stem",
        ),
        (Architecture(small(), (TapSpec("stem", "vector"),)), "returns (2, 4, 8, 8) for 2 images, must return (B, channels)"),
        (
            Architecture(small(act=nn.Sequential(Pair(), TakesPair())), (TapSpec("act.0", "map"),)),
            "tap 'act.0' returns a tuple, must return one tensor",
        ),
        (Architecture(small(head=nn.Identity())), "classifier not found: the network has no nn.Linear"),
        (Architecture(small(), classifier="heat"), "classifier 'heat' is not a module of the network: did you mean 'head'?"),
        (
            Architecture(small(), classifier="act"),
            "classifier 'act' is given shape (2, 4, 8, 8), must be given (images, features)",
        ),
        (Architecture(small(head=nn.Linear(256, 6))), "returns shape (2, 6), must return logits of shape (2, 5)"),
        (Architecture(small(head=nn.Sequential(nn.Linear(256, 5), Pair()))), "returns a tuple, must return logits"),
        (Architecture(small(stem=nn.Conv2d(1, 4, 3, padding=1))), "images are 3x8x8, the network fails on them"),
        (Architecture(small(head=nn.Linear(100, 5))), "must name input_size and input_channels"),
        (Architecture(small(), input_channels=1), "images are 3x8x8, must have 1 channels for this network"),
    ],
)
def test_refuses_a_declaration_that_does_not_hold(architecture: Architecture, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Network(architecture, SHAPE, 5)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_modules_that_are_never_called() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(192, 5)
            self.spare = nn.Linear(192, 5)

        def forward(self, images_BCHW: Tensor) -> Tensor:
            logits: Tensor = self.used(images_BCHW.flatten(1))
            return logits

    with pytest.raises(InputError, match="classifier 'spare' is given nothing"):
        Network(Architecture(Spare()), SHAPE, 5)
    with pytest.raises(InputError, match="tap 'spare' is not called by the network"):
        Network(Architecture(Spare(), (TapSpec("spare", "vector"),), classifier="used"), SHAPE, 5)
