"""Convolution against torch's, derivative by derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hmdc_ray.models.convolution import Convolution

GEOMETRIES: list[dict[str, Any]] = [
    {"padding": 1},
    {"stride": 2, "padding": (2, 1), "dilation": (1, 2)},
    {"groups": 2, "bias": False},
]


def pair(channels: int = 6, **geometry: Any) -> tuple[nn.Conv2d, Convolution]:
    """The same layer twice, torch's and ours, from 4 channels."""
    kinds: tuple[type[nn.Conv2d], type[Convolution]] = nn.Conv2d, Convolution
    layers = (
        kinds[0](4, channels, 3, dtype=torch.float64, **geometry),
        kinds[1](4, channels, 3, dtype=torch.float64, **geometry),
    )
    generator = torch.Generator().manual_seed(3)
    for parameter in layers[0].parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    layers[1].load_state_dict(layers[0].state_dict())
    return layers


def images(seed: int = 5) -> Tensor:
    return torch.randn(2, 4, 14, 15, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)


def derivatives(layer: nn.Conv2d, with_gx: bool, with_gw: bool) -> list[Tensor]:
    """Output, first derivatives, and those of a distance between them and constants with respect to
    everything."""
    x = images()
    inputs = [x, *layer.parameters()]
    y = layer(x)
    first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
    wanted = [gradient for gradient, use in zip(first, (with_gx, with_gw, with_gw), strict=False) if use]
    distance = torch.stack([(gradient - 1).square().sum() for gradient in wanted]).sum()
    return [y, *first, *torch.autograd.grad(distance, [x, layer.weight])]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("with_gx", "with_gw"), [(True, True), (True, False), (False, True)])
def test_all_derivatives_are_torchs(geometry: dict[str, Any], with_gx: bool, with_gw: bool) -> None:
    torchs, ours = (derivatives(layer, with_gx, with_gw) for layer in pair(**geometry))
    for found, expected in zip(ours, torchs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("geometry", [*GEOMETRIES[:2], {"bias": False}], ids=str)
def test_all_derivatives_of_the_product_are_torchs(geometry: dict[str, Any]) -> None:
    class Product(Convolution):
        def forward(self, input: Tensor) -> Tensor:
            return self.as_product(input, self.weight, self.bias)

    torchs, ours = pair(40, **geometry)
    ours.__class__ = Product
    calls = Calls()
    with calls:
        found = derivatives(ours, True, True)
    assert calls.parts == 0
    for mine, expected in zip(found, derivatives(torchs, True, True), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("geometry", [*GEOMETRIES[:2], {"bias": False}], ids=str)
def test_the_product_of_images_without_a_gradient_is_torchs(geometry: dict[str, Any]) -> None:
    torchs, ours = pair(40, **geometry)
    x = images().detach().contiguous(memory_format=torch.channels_last)
    outputs = torchs(x), ours.as_product(x, ours.weight, ours.bias)
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-11, atol=1e-11)
    expected, found = (
        torch.autograd.grad(output.square().sum(), list(layer.parameters()))
        for output, layer in zip(outputs, (torchs, ours), strict=True)
    )
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_derivatives_agree_with_finite_differences() -> None:
    layer = Convolution(2, 1, 2, padding=1, dtype=torch.float64)

    def output(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))
        return found

    inputs = [images()[:1, :2, :2, :2].detach().requires_grad_(), *layer.parameters()]
    assert torch.autograd.gradcheck(output, inputs)
    assert torch.autograd.gradgradcheck(output, inputs)


def test_the_bias_alone_may_be_asked_for() -> None:
    def second(layer: nn.Conv2d) -> Tensor:
        x = images()
        assert layer.bias is not None
        (gb,) = torch.autograd.grad(layer(x).square().sum(), layer.bias, create_graph=True)
        return torch.autograd.grad(gb.square().sum(), x)[0]

    torchs, ours = map(second, pair(padding=1))
    torch.testing.assert_close(ours, torchs, rtol=1e-11, atol=1e-11)


class Calls(TorchDispatchMode):
    """Counts convolutions and the parts of their derivatives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.parts = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket is torch.ops.aten.convolution:
            self.parts += 1
        elif func._overloadpacket is torch.ops.aten.convolution_backward:
            self.parts += sum(map(bool, args[-1][:2]))
        return func(*args, **(kwargs or {}))


def convolutions(layer: nn.Conv2d, of: Callable[[Tensor], list[Tensor]]) -> int:
    """Convolutions in the derivative, with respect to some tensors, of a distance between
    gradients."""
    x = images()
    between = x * 1  # an input that is no leaf, as that of all layers but the first
    gradients = torch.autograd.grad(layer(between).square().sum(), [between, layer.weight], create_graph=True)
    distance = gradients[0].square().sum() + gradients[1].square().sum()
    calls = Calls()
    with calls:
        torch.autograd.grad(distance, of(x))
    return calls.parts


def test_what_nobody_asks_for_is_not_computed() -> None:
    """For the images four: two of gy, one of x, and one of the layer's own first derivative."""
    torchs, ours = pair(padding=1)
    assert convolutions(ours, lambda x: [x]) == 4
    assert convolutions(ours, lambda x: [x, ours.weight]) == 6
    assert convolutions(torchs, lambda x: [x]) > 4, "torch has learned it: this class is no longer needed"


def test_an_image_without_a_batch_is_left_to_torch() -> None:
    torchs, ours = pair(padding=1)
    assert torch.equal(ours(images()[0]), torchs(images()[0]))


def test_padding_by_name_or_with_other_than_zeros_is_torchs() -> None:
    for geometry in ({"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}):
        torchs, ours = pair(**geometry)
        assert torch.equal(ours(images()), torchs(images()))


@pytest.mark.parametrize("channels", [6, 40])
def test_within_autocast_it_works_in_that_format_as_torch_does(channels: int) -> None:
    """As near to what is exact as torch's own layer, second derivatives among them."""
    x = images()

    def second(layer: nn.Conv2d, autocast: bool) -> list[Tensor]:
        source = x.detach().to(layer.weight).requires_grad_()
        between = source * 1  # an input that is no leaf, as that of all layers but the first
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = layer(between)
        assert y.dtype == (torch.bfloat16 if autocast else torch.float64)
        gradients = torch.autograd.grad(y.to(source).square().sum(), [between, *layer.parameters()], create_graph=True)
        assert all(gradient.dtype == source.dtype for gradient in gradients)
        distance = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
        return [y, *gradients, *torch.autograd.grad(distance, source)]

    torchs, ours = pair(channels)
    exact = second(torchs, autocast=False)
    calls = Calls(), Calls()
    with calls[0]:
        found = second(ours.float(), autocast=True)
    with calls[1]:
        plain = second(torchs.float(), autocast=True)
    assert calls[0].parts < calls[1].parts, "the layer was torch's"
    assert (calls[0].parts == 0) == (channels == 40), "of few channels to many it is a product"
    for mine, other, truth in zip(found, plain, exact, strict=True):
        error, theirs = ((tensor.double() - truth).norm() / truth.norm() for tensor in (mine, other))
        assert 0 < error < 1.5 * theirs
