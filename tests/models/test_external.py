"""Networks of timm and torchvision: names, options, input sizes and taps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hmdc_ray.models import ImageShape, Network
from models.networks import CIFAR, make, refusal, tap_sizes

TINY: dict[str, Any] = {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32]}


def input_size(network: Network) -> tuple[int, ...]:
    """Height and width that reach the module inside a network."""
    seen: list[tuple[int, ...]] = []
    shape = network.image_shape
    with network.module.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[1:]))), torch.no_grad():
        network.eval()(torch.zeros(1, shape.channels, shape.height, shape.width))
    return seen[0]


@pytest.mark.parametrize(
    ("architecture", "options", "shape", "size"),
    [
        ("timm:resnet18", TINY, CIFAR, (3, 32, 32)),
        ("timm:resnet18", TINY, ImageShape(1, 28, 20), (1, 28, 20)),
        ("timm:resnet18", TINY | {"input_size": 48}, CIFAR, (3, 48, 48)),
        ("timm:test_vit", {}, CIFAR, (3, 160, 160)),
        ("timm:test_vit", {"input_size": [32, 48]}, ImageShape(2, 8, 8), (2, 32, 48)),
        ("torchvision:shufflenet_v2_x0_5", {}, ImageShape(1, 28, 28), (3, 28, 28)),
        ("torchvision:shufflenet_v2_x0_5", {"input_size": [40, 32]}, CIFAR, (3, 40, 32)),
        ("timm:levit_128s", {}, CIFAR, (3, 224, 224)),
        ("torchvision:vit_b_32", {"input_size": 64}, CIFAR, (3, 64, 64)),
    ],
)
def test_input_sizes(architecture: str, options: dict[str, Any], shape: ImageShape, size: tuple[int, ...]) -> None:
    assert input_size(make(architecture, shape, **options)) == size


def test_taps_of_a_convolutional_network_are_its_stages() -> None:
    stages = [("layer1", 8, 8, 8), ("layer2", 16, 4, 4), ("layer3", 24, 2, 2), ("layer4", 32, 1, 1)]
    assert tap_sizes(make("timm:resnet18", **TINY)) == stages
    assert [tap[0] for tap in tap_sizes(make("torchvision:resnet18"))] == ["layer1", "layer2", "layer3", "layer4"]


def test_fewer_taps_of_a_convolutional_network_end_with_its_last_stage() -> None:
    assert [tap[0] for tap in tap_sizes(make("timm:resnet18", **TINY, taps=2))] == ["layer2", "layer4"]
    assert [tap[0] for tap in tap_sizes(make("torchvision:resnet18", taps=1))] == ["layer4"]


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("timm:deit_tiny_distilled_patch16_224", {"input_size": 32, "embed_dim": 24}),  # two tokens in front
        ("timm:test_vit2", {"input_size": 32, "class_token": False, "reg_tokens": 0, "global_pool": "avg"}),
        ("timm:swin_tiny_patch4_window7_224", {"input_size": 56, "embed_dim": 12}),  # channels last
        ("torchvision:shufflenet_v2_x0_5", {}),
    ],
)
def test_networks_of_another_layout_have_no_taps(architecture: str, options: dict[str, Any]) -> None:
    assert make(architecture, **options).taps == ()


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("timm:resnet81", {}, "timm has no network 'resnet81': did you mean 'resnet18' or "),
        ("timm:resnet18.nobody", {}, "timm has no network 'resnet18.nobody': did you mean 'resnet18"),
        ("timm:hf-hub:someone/something", {}, "timm has no network 'hf-hub:someone/something'"),
        ("timm:", {}, "timm has no network '': timm.list_models() lists all"),
        ("torchvision:resnet81", {}, "torchvision has no network 'resnet81': did you mean 'resnet18' or "),
        ("torchvision:fasterrcnn_resnet50_fpn", {}, "torchvision has no network"),
        ("timm:resnet18", {"layer": [1]}, "unknown option 'layer': did you mean 'layers'?"),
        ("timm:resnet18", {"num_classes": 3}, "unknown option 'num_classes'"),
        ("timm:resnet18", {"checkpoint_path": "weights.pth"}, "unknown option 'checkpoint_path'"),
        ("timm:resnet18", {"features_only": True}, "unknown option 'features_only'"),
        ("timm:resnet18", {"block": "wide"}, "timm cannot make it with options {'block': 'wide'} (AttributeError"),
        ("timm:resnet18", {"input_size": "big"}, "option 'input_size' is 'big': it should be a number of pixels, or [height"),
        ("timm:resnet18", {"input_size": [32, 0]}, "option 'input_size' is [32, 0]: it should be"),
        ("timm:resnet18", {"taps": 0}, "option 'taps' is 0: it should be a number of taps, at least 1"),
        ("timm:resnet18", {"taps": True}, "option 'taps' is True: it should be"),
        ("timm:resnet18", TINY | {"taps": 5}, "option 'taps' is 5, but the network has 4: must be 1 to that many"),
        ("timm:resnet18", {"tap": 2}, "unknown option 'tap': did you mean 'taps'?"),
        ("timm:resnet18", {"input_size": True}, "option 'input_size' is True: it should be"),
        ("torchvision:resnet18", {"width_per_group": 8}, "torchvision cannot make it with options"),
        ("torchvision:resnet18", {"width": 8}, "unknown option 'width': "),
    ],
)
def test_refuses_unknown_names_and_options(architecture: str, options: dict[str, Any], message: str) -> None:
    assert refusal(architecture, **options).startswith(message)


def test_pretrained_weights_are_of_libraries_only() -> None:
    message = refusal("convnet", weights="pretrained")
    assert message.startswith("weights are 'pretrained', which only architectures timm:NAME and torchvision:NAME")
