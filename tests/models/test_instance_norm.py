"""Instance norm against torch's group norm, derivative by derivative."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.pretend_device import pretend_device
from hmdc_ray.models.instance_norm import InstanceNorm
from hmdc_ray.system.transfer import to_device

SHAPE = (3, 4, 5, 6)
CHANNELS = SHAPE[1]

Layer = Callable[[Tensor, Tensor, Tensor], Tensor]


def rounded(maps: torch.dtype, vectors: torch.dtype, shape: tuple[int, ...], offset: float) -> list[Tensor]:
    """As :func:`drawn`, maps in one number format and vectors in another."""
    return [tensor.to(maps if tensor.ndim == 4 else vectors) for tensor in drawn(shape=shape, offset=offset)]


def drawn(dtype: torch.dtype = torch.float64, shape: tuple[int, ...] = SHAPE, offset: float = 0.3) -> list[Tensor]:
    """Input, weight, bias; then directions for y, gx, gw and gb."""
    generator = torch.Generator().manual_seed(7)
    channels = (shape[1],)
    tensors = [torch.randn(size, generator=generator, dtype=torch.float64) for size in (shape, channels, channels)]
    tensors[0] += offset
    directions = [torch.randn(size, generator=generator, dtype=torch.float64) for size in (shape, shape, channels, channels)]
    return [tensor.to(dtype) for tensor in (*tensors, *directions)]


def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    layer = InstanceNorm(len(weight), len(weight)).to(weight.dtype)
    found: Tensor = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))
    return found


def torchs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.group_norm(x, len(weight), weight, bias)


def derivatives(layer: Layer, tensors: list[Tensor]) -> list[Tensor]:
    """Output, first derivatives, and the derivatives of those in a direction with respect to
    everything."""
    x, weight, bias, gy, *directions = (tensor.clone() for tensor in tensors)
    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    gy.requires_grad_()
    y = layer(*inputs)
    first = torch.autograd.grad(y, inputs, grad_outputs=gy, create_graph=True)
    second = torch.autograd.grad(first, (x, weight, gy), grad_outputs=directions)
    return [y, *first, *second]


def test_all_derivatives_are_group_norms_in_float64() -> None:
    for found, expected in zip(derivatives(ours, drawn()), derivatives(torchs, drawn()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_another_device_computes_the_same_derivatives_as_the_cpu(dtype: torch.dtype) -> None:
    expected = derivatives(ours, drawn(dtype))
    with pretend_device() as (device, waits):
        inputs = to_device(drawn(dtype), device)
        weight, bias = (nn.Parameter(vector) for vector in inputs[1:3])

        def there(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            layer = InstanceNorm(CHANNELS, CHANNELS).to(x)
            y: Tensor = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))
            return y

        assert "_Normalise" in str(there(inputs[0], weight, bias).grad_fn)
        found = derivatives(there, inputs)
        assert not waits.total("synchronisations")
        digits = 1e-4 if dtype == torch.float32 else 1e-11  # sums may come in another order
        for mine, other in zip(found, expected, strict=True):
            torch.testing.assert_close(mine.cpu(), other, rtol=digits, atol=digits)


def test_on_another_device_autocast_brings_maps_into_the_weights_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: device == "pretend")  # it has no autocast of its own
    with pretend_device() as (device, _):
        x, layer = drawn(torch.bfloat16)[0].to(device), InstanceNorm(CHANNELS, CHANNELS).to(device)
        y = layer(x)
        assert y.dtype == torch.float32 and "_Normalise" in str(y.grad_fn)
        assert torch.equal(y.cpu(), torchs(x.cpu().float(), torch.ones(CHANNELS), torch.zeros(CHANNELS)))


def test_derivatives_agree_with_finite_differences() -> None:
    inputs = [tensor.requires_grad_() for tensor in drawn(shape=(2, 2, 2, 2))[:3]]
    assert torch.autograd.gradcheck(ours, inputs)
    assert torch.autograd.gradgradcheck(ours, inputs)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_float32_is_as_exact_as_group_norm(offset: float) -> None:
    """Also where the mean of a map is several times its deviation."""
    shape = (4, 8, 16, 16)
    exact = derivatives(torchs, drawn(shape=shape, offset=offset))
    found, plain = (derivatives(layer, drawn(torch.float32, shape, offset)) for layer in (ours, torchs))
    for mine, other, truth in zip(found, plain, exact, strict=True):
        error, theirs = ((tensor.double() - truth).norm() / truth.norm() for tensor in (mine, other))
        assert error < 4 * theirs + 1e-6


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_bfloat16_maps_with_float32_weights_are_as_exact_as_with_group_norm(offset: float) -> None:
    shape = (4, 8, 16, 16)
    inputs = rounded(torch.bfloat16, torch.float32, shape, offset)
    exact = derivatives(torchs, [tensor.double() for tensor in inputs])
    with torch.autocast("cpu", torch.bfloat16):
        assert "_Normalise" in str(ours(inputs[0].clone().requires_grad_(), *inputs[1:3]).grad_fn)
    found, plain = (derivatives(layer, inputs) for layer in (ours, torchs))
    for mine, other, truth in zip(found, plain, exact, strict=True):
        assert mine.dtype == other.dtype
        if truth.ndim == 4:  # no more is added to a whole map than one rounding of its largest value
            largest = truth.abs().amax(dim=(2, 3))
            assert ((mine.double() - truth).mean(dim=(2, 3)).abs() <= torch.finfo(mine.dtype).eps * largest).all()
        error, theirs = ((tensor.double() - truth).norm() / truth.norm() for tensor in (mine, other))
        assert error < 1.5 * theirs + 1e-6


def test_a_gradient_through_two_layers_and_any_memory_layout() -> None:
    x, weight, bias, gy, direction, *_ = drawn()
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    gy, direction = (tensor.transpose(2, 3).contiguous().transpose(2, 3) for tensor in (gy, direction))
    assert not gy.is_contiguous() and not direction.is_contiguous()

    def second(layer: Layer) -> Tensor:
        y = layer(layer(x, weight, bias).relu(), weight, bias)
        (gx,) = torch.autograd.grad(y, x, grad_outputs=gy, create_graph=True)
        return torch.autograd.grad(gx, x, grad_outputs=direction)[0]

    torch.testing.assert_close(second(ours), second(torchs), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(1, CHANNELS, 5), (2, CHANNELS), (CHANNELS, CHANNELS, 3, 2, 2)])
def test_anything_but_images_is_left_to_group_norm(shape: tuple[int, ...]) -> None:
    torchs, ours = (kind(CHANNELS, CHANNELS, dtype=torch.float64) for kind in (torch.nn.GroupNorm, InstanceNorm))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)

    def second(layer: torch.nn.GroupNorm) -> Tensor:
        (gx,) = torch.autograd.grad(layer(x).sin().sum(), x, create_graph=True)
        return torch.autograd.grad(gx.square().sum(), x)[0]

    assert torch.equal(second(ours), second(torchs))


def test_other_number_formats_are_left_to_group_norm() -> None:
    x = drawn(torch.float32)[0].bfloat16()
    layer = InstanceNorm(CHANNELS, CHANNELS).bfloat16()
    assert torch.equal(layer(x), torchs(x, layer.weight, layer.bias))


def test_parameters_have_the_names_of_group_norm() -> None:
    assert InstanceNorm(CHANNELS, CHANNELS).state_dict().keys() == torch.nn.GroupNorm(CHANNELS, CHANNELS).state_dict().keys()


def test_without_gradients_nothing_is_kept() -> None:
    x, weight, bias = (tensor.requires_grad_() for tensor in drawn()[:3])
    with torch.no_grad():
        found = ours(x, weight, bias)
    assert found.grad_fn is None
    assert torch.equal(found, torchs(x, weight, bias))
