from __future__ import annotations

import torch
from torch import Tensor, nn

from hmdc_ray.models import ImageShape, Network, build, freeze_batchnorm, has_batchnorm
from hmdc_ray.seeding import Key


def make(norm: str) -> Network:
    return build("convnet", {"width": 4, "depth": 2, "norm": norm}, ImageShape(1, 8, 8), 3, Key(0, "network"))


def means(network: nn.Module) -> Tensor:
    return torch.cat([buffer for name, buffer in network.named_buffers() if name.endswith("running_mean")])


def test_only_batchnorm_is_found() -> None:
    assert has_batchnorm(make("batch"))
    assert not any(has_batchnorm(make(norm)) for norm in ("instance", "layer", "group", "none"))


def test_frozen_statistics_stay_and_thawed_ones_move() -> None:
    network = make("batch")
    images_BCHW = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    freeze_batchnorm(network, True)
    network(images_BCHW)
    assert torch.equal(means(network), torch.zeros(8))
    assert network.training
    freeze_batchnorm(network, False)
    network(images_BCHW)
    assert means(network).abs().min() > 0


def test_thawing_follows_the_mode_of_the_network() -> None:
    network = make("batch").eval()
    freeze_batchnorm(network, False)
    assert not any(module.training for module in network.modules())
