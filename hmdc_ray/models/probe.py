"""Looking into a module before it is used: what its parts return for images of zeros."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, so that no running statistic moves; every part gets its
    own mode back."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for child, training in modes:
            child.training = training


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Every part gets its own mode and its buffers back, running statistics with them, whatever is
    done with the module."""
    parts = [(part, part.training, dict(part._buffers)) for part in module.modules()]
    copies = {buffer: buffer.clone() for buffer in module.buffers()}
    for part, _, buffers in parts:
        part._buffers.update({name: None if buffer is None else copies[buffer] for name, buffer in buffers.items()})
    try:
        yield
    finally:
        for part, training, buffers in parts:
            part.training = training
            part._buffers.update(buffers)


def zeros(module: nn.Module, images: int, channels: int, height: int, width: int) -> Tensor:
    """Images (images, channels, height, width) of zeros, of the number format and on the device of
    the module."""
    like = next(module.parameters(), torch.empty(0))
    return torch.zeros((images, channels, height, width), dtype=like.dtype, device=like.device)


def outputs(module: nn.Module, names: Iterable[str], images_BCHW: Tensor) -> dict[str, Any]:
    """What the submodules ``names`` return while ``module`` is given the images; those that are not
    called are missing."""
    found: dict[str, Any] = {}
    with ExitStack() as hooks:
        for name in set(names):
            hooks.enter_context(module.get_submodule(name).register_forward_hook(partial(keep_output, found, name)))
        hooks.enter_context(evaluating(module))
        module(images_BCHW)
    return found


def keep_output(found: dict[str, Any], name: str, _module: nn.Module, _inputs: object, output: Any) -> None:
    """A forward hook that puts the output into ``found[name]``."""
    found[name] = output
