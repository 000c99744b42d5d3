"""Which parameters and buffers a network may have: those that are trained, cast and stored as they
are meant."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hmdc_ray.errors import InputError


def require_plain(module: nn.Module) -> None:
    """Refuse parameters that no step could train, and those that a change of number format would
    change in silence.

    Parameters, and buffers that are not whole numbers or truth values, must be dense, of float32,
    and have values. A lazy module's have none before its first forward pass, so that it is asked
    for again after it; see :func:`require_initialised`.

    Raises:
        InputError: names the parameter or buffer and what it is.
    """
    for name, tensor in _named(module):
        parameter = isinstance(tensor, nn.Parameter)
        if tensor.is_meta and not is_lazy(tensor):
            raise InputError(f"{name} is on the meta device, which holds no numbers: must be made on a real one")
        if tensor.layout != torch.strided:
            raise InputError(f"{name} is {_short(tensor.layout)}, must be dense")
        if tensor.is_complex():
            raise InputError(
                f"{name} is {_short(tensor.dtype)}, must be float32: keep real and imaginary parts as two numbers, "
                "as torch.view_as_real gives them"
            )
        if tensor.dtype != torch.float32 and (tensor.is_floating_point() or tensor.is_quantized):
            raise InputError(
                f"{name} is {_short(tensor.dtype)}, must be float32: members are cast to the format of matching.precision "
                "and students are not, so that these would be different networks"
            )
        if tensor.dtype != torch.float32 and parameter:
            raise InputError(f"{name} is {_short(tensor.dtype)}, must be float32: make what is not trained a buffer")


def require_initialised(module: nn.Module) -> None:
    """Refuse a lazy module that a forward pass in evaluation mode does not call.

    Raises:
        InputError: names a parameter or buffer that has no shape.
    """
    for name, tensor in _named(module):
        if is_lazy(tensor):
            raise InputError(f"{name} has no shape after a forward pass: its lazy module must be one that every pass calls")


def _named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in module.named_parameters():
        yield f"parameter {name!r}", parameter
    for name, buffer in module.named_buffers():
        yield f"buffer {name!r}", buffer


def _short(value: object) -> str:
    return str(value).removeprefix("torch.")
