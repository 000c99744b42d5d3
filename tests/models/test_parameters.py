"""Parameters and buffers that a network may have, wherever it is built."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hmdc_ray.errors import InputError
from hmdc_ray.models import ImageShape, Network, build
from hmdc_ray.seeding import Key

SHAPE = ImageShape(1, 4, 4)


class Own(nn.Module):
    """A linear network with one tensor more, ``extra``, before or after its layer."""

    def __init__(self, tensor: Tensor, classes: int, first: bool) -> None:
        super().__init__()
        layer = nn.Linear(16, classes)
        if not first:
            self.layer = layer
        if isinstance(tensor, nn.Parameter):
            self.extra = tensor
        else:
            self.register_buffer("extra", tensor)
        if first:
            self.layer = layer

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits: Tensor = self.layer(images_BCHW.flatten(1))
        return logits


def parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=tensor.is_floating_point() or tensor.is_complex())


TENSORS: dict[str, Callable[[], Tensor]] = {
    "complex64": lambda: parameter(torch.ones(2, dtype=torch.complex64)),
    "complex128 buffer": lambda: torch.ones(2, dtype=torch.complex128),
    "float64": lambda: parameter(torch.ones(2, dtype=torch.float64)),
    "float64 buffer": lambda: torch.ones(2, dtype=torch.float64),
    "bfloat16": lambda: parameter(torch.ones(2, dtype=torch.bfloat16)),
    "int8": lambda: parameter(torch.ones(2, dtype=torch.int8)),
    "bool": lambda: parameter(torch.ones(2, dtype=torch.bool)),
    "float8_e4m3fn buffer": lambda: torch.ones(2).to(torch.float8_e4m3fn),
    "sparse_coo": lambda: parameter(torch.eye(2).to_sparse()),
    "meta": lambda: parameter(torch.ones(2, device="meta")),
    "lazy": lambda: nn.LazyLinear(2).weight,
    "float32": lambda: parameter(torch.ones(2)),
    "int64 buffer": lambda: torch.ones(2, dtype=torch.int64),
    "bool buffer": lambda: torch.ones(2, dtype=torch.bool),
}


def own(shape: ImageShape, classes: int, extra: str, first: bool) -> nn.Module:
    return Own(TENSORS[extra](), classes, first)


def lazy(shape: ImageShape, classes: int) -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes))


def made(extra: str, first: bool) -> Network:
    return build(f"{__name__}:own", {"extra": extra, "first": first}, SHAPE, 3, Key(0, "network"))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("complex64", "parameter 'extra' is complex64, must be float32: keep real and imaginary parts as two numbers"),
        ("complex128 buffer", "buffer 'extra' is complex128, must be float32"),
        ("float64", "parameter 'extra' is float64, must be float32: members are cast"),
        ("float64 buffer", "buffer 'extra' is float64, must be float32"),
        ("bfloat16", "parameter 'extra' is bfloat16, must be float32"),
        ("int8", "parameter 'extra' is int8, must be float32: make what is not trained a buffer"),
        ("bool", "parameter 'extra' is bool, must be float32"),
        ("float8_e4m3fn buffer", "buffer 'extra' is float8_e4m3fn, must be float32"),
        ("sparse_coo", "parameter 'extra' is sparse_coo, must be dense"),
        ("meta", "parameter 'extra' is on the meta device, which holds no numbers"),
        ("lazy", "parameter 'extra' has no shape after a forward pass"),
    ],
)
def test_a_tensor_that_would_be_changed_or_not_trained_is_named(extra: str, message: str, first: bool) -> None:
    with pytest.raises(InputError) as caught:
        made(extra, first)
    assert str(caught.value).startswith(f"architecture '{__name__}:own': {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("extra", ["float32", "int64 buffer", "bool buffer"])
def test_what_is_meant_as_it_is_stays(extra: str) -> None:
    assert torch.equal(made(extra, first=True).module.get_submodule("").extra, TENSORS[extra]())  # type: ignore[arg-type]


def test_lazy_layers_get_their_shapes_and_draws_when_the_network_is_built() -> None:
    first, second = (build(f"{__name__}:lazy", {}, SHAPE, 3, Key(0, "network")) for _ in range(2))
    assert first.module.get_parameter("4.weight").shape == (3, 16)
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())
    assert first.module.get_buffer("1.num_batches_tracked") == 0
