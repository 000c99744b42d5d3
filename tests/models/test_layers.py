from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hmdc_ray.models.layers import Activation, Norm, Pooling, make_activation, make_norm, make_pooling


def maps() -> Tensor:
    """Maps (2, 8, 4, 6) whose channels differ in mean and scale."""
    noise = torch.randn(2, 8, 4, 6, generator=torch.Generator().manual_seed(0))
    return noise * torch.arange(1, 9).view(1, 8, 1, 1) + 3


@pytest.mark.parametrize(
    ("norm", "view", "dims", "parameters"),
    [
        ("instance", (2, 8, 24), (2,), 16),
        ("batch", (2, 8, 24), (0, 2), 16),
        ("group", (2, 4, 48), (2,), 16),
        ("layer", (2, 1, 192), (2,), 384),
    ],
)
def test_norms_standardise_over_their_own_part(
    norm: Norm, view: tuple[int, int, int], dims: tuple[int, ...], parameters: int
) -> None:
    layer = make_norm(norm, 8, 4, 6)
    parts = maps().view(view)
    expected = (parts - parts.mean(dims, keepdim=True)) / parts.std(dims, correction=0, keepdim=True)
    torch.testing.assert_close(layer(maps()), expected.view(2, 8, 4, 6), rtol=1e-4, atol=1e-4)
    assert sum(parameter.numel() for parameter in layer.parameters()) == parameters


def test_no_norm_changes_nothing() -> None:
    assert torch.equal(make_norm("none", 8, 4, 6)(maps()), maps())


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", [0.0, 0.0, 2.0]),
        ("sigmoid", [1 / (1 + torch.e), 0.5, 1 / (1 + torch.e**-2)]),
        ("leakyrelu", [-0.01, 0.0, 2.0]),
        ("swish", [-1 / (1 + torch.e), 0.0, 2 / (1 + torch.e**-2)]),
    ],
)
def test_activations(activation: Activation, expected: list[float]) -> None:
    torch.testing.assert_close(make_activation(activation)(torch.tensor([-1.0, 0.0, 2.0])), torch.tensor(expected))


@pytest.mark.parametrize("pooling", ["avg", "max", "none"])
def test_poolings(pooling: Pooling) -> None:
    expected = {"avg": F.avg_pool2d(maps(), 2), "max": F.max_pool2d(maps(), 2), "none": maps()}[pooling]
    assert torch.equal(make_pooling(pooling)(maps()), expected)
