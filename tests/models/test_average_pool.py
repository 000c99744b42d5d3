"""Average pooling as a matrix product against torch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmdc_ray.models.average_pool import AveragePool, _squares, average_pool
from hmdc_ray.models.plain import plain_layers


def maps(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(
    ("shape", "side"),
    [((2, 3, 4, 6), 2), ((1, 2, 9, 6), 3), ((2, 1, 8, 8), 8), ((2, 3, 5, 4), 2), ((1, 1, 4, 200), 2), ((0, 3, 4, 4), 2)],
)
def test_means_are_torchs(shape: tuple[int, ...], side: int) -> None:
    """Also of odd sizes, wide maps, and no maps at all."""
    torch.testing.assert_close(average_pool(maps(*shape), side), F.avg_pool2d(maps(*shape), side), rtol=1e-12, atol=1e-12)


def test_derivatives_agree_with_finite_differences() -> None:
    x = maps(2, 2, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: average_pool(x, 2), (x,))
    assert torch.autograd.gradgradcheck(lambda x: average_pool(x, 2).sin(), (x,))


def test_any_memory_layout() -> None:
    x = maps(2, 3, 4, 6).to(memory_format=torch.channels_last)
    torch.testing.assert_close(average_pool(x, 2), F.avg_pool2d(x, 2), rtol=1e-12, atol=1e-12)


def test_float32_means_are_as_near_as_one_rounding() -> None:
    x = maps(4, 8, 16, 16, dtype=torch.float32)
    torch.testing.assert_close(average_pool(x, 2), F.avg_pool2d(x.double(), 2).float(), rtol=2e-7, atol=1e-7)


@pytest.mark.parametrize(
    "layer",
    [
        nn.AvgPool2d(2),
        nn.AvgPool2d(3),
        nn.AvgPool2d(3, stride=2),
        nn.AvgPool2d(3, stride=2, padding=1),
        nn.AvgPool2d((2, 1)),
        nn.AvgPool2d(2, ceil_mode=True),
    ],
    ids=str,
)
def test_a_layer_is_torchs(layer: nn.AvgPool2d) -> None:
    """On maps that its squares cover and on others."""
    sizes = [(6, 6), (6, 7)]
    expected = [layer(maps(2, 3, *size)) for size in sizes]
    layer.__class__ = AveragePool
    for size, means in zip(sizes, expected, strict=True):
        torch.testing.assert_close(layer(maps(2, 3, *size)), means, rtol=1e-12, atol=1e-12)


def test_the_product_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the layer too, in the format of the maps within autocast, and not where torch's own layers
    are asked for."""
    calls: list[int] = []

    def counted(side: int, width: int, dtype: torch.dtype) -> Tensor:
        calls.append(side)
        return _squares(side, width, dtype)

    monkeypatch.setattr("hmdc_ray.models.average_pool._squares", counted)
    layer = nn.AvgPool2d(2)
    layer.__class__ = AveragePool
    layer(maps(1, 1, 4, 4))
    assert len(calls) == 1
    with torch.autocast("cpu", torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):
            assert layer(maps(1, 1, 4, 4, dtype=dtype)).dtype == dtype
    assert len(calls) == 3
    with plain_layers():
        layer(maps(1, 1, 4, 4))
    assert len(calls) == 3


@pytest.mark.parametrize("side", [2, 3, 4])
def test_bfloat16_means_are_exact_but_for_one_rounding(side: int) -> None:
    x = maps(4, 8, 12, 12, dtype=torch.bfloat16)
    torch.testing.assert_close(average_pool(x, side), F.avg_pool2d(x.double(), side).bfloat16(), rtol=2**-8, atol=1e-6)
    ones = torch.ones(1, 1, 12, 12, dtype=torch.bfloat16)
    assert (average_pool(ones, side) == 1).all()


def test_other_number_formats_are_left_to_torch() -> None:
    x = maps(1, 2, 4, 4, dtype=torch.float16)
    assert torch.equal(average_pool(x, 2), F.avg_pool2d(x, 2))
