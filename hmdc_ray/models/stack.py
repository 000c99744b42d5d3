"""Networks of one architecture as one network, whose channels lie in groups: a group for each.

A training step of a small network on a few images costs what it takes to call its operators, more
than what they compute. A stack calls each of them once for all of its networks: a convolution of S
networks is one with S times as many channels in S times as many groups, a linear layer a batch of
matrix products, and what works on every value or map by itself does not notice. No value of one
network reaches another, so that each gets the gradients that it would get alone, but for rounding.

Shapes: S networks, B images, C channels, H x W pixels, K classes; N = B, or B times the tokens of
an image; I inputs and O outputs of a linear layer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmdc_ray.models.average_pool import AveragePool
from hmdc_ray.models.convolution import Convolution
from hmdc_ray.models.instance_norm import InstanceNorm
from hmdc_ray.models.network import Network
from hmdc_ray.models.probe import evaluating, zeros
from hmdc_ray.models.resnet import BasicBlock
from hmdc_ray.models.transformer import Attention, Block, Mlp, Patches, VisionTransformer

_OWN_WEIGHTS = (nn.Conv2d, Convolution, nn.Linear, nn.GroupNorm, InstanceNorm, nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d)
_POINTWISE = (nn.Identity, nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.SiLU, nn.GELU)
_POOLINGS = (nn.AvgPool2d, AveragePool, nn.MaxPool2d, nn.AdaptiveAvgPool2d)
_CONTAINERS = (nn.Sequential, BasicBlock, Attention, Mlp, Block, Patches, VisionTransformer)
_KNOWN = {*_OWN_WEIGHTS, *_POINTWISE, *_POOLINGS, *_CONTAINERS}
"""Classes of the modules that a stackable network consists of, beside ``nn.Flatten`` of all but the
first dimension; classes derived from them may do anything."""


def is_stackable(network: Network) -> bool:
    """Whether :class:`Stack` can hold the network: it consists of known layers, whose parameters
    are all trained and not shared, and is given the images as they are."""
    owned = [parameter for module in network.module.modules() for parameter in module.parameters(recurse=False)]
    plain = len({id(parameter) for parameter in owned}) == len(owned) and all(each.requires_grad for each in owned)
    return plain and not network.adapts_images and all(map(_is_known, network.module.modules()))


def _is_known(module: nn.Module) -> bool:
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
        return False
    if type(module) is nn.Flatten:
        return (module.start_dim, module.end_dim) == (1, -1)
    if type(module) in (nn.Linear, nn.LayerNorm):
        return module.bias is not None
    return type(module) in _KNOWN


def image_work(network: Network) -> int:
    """Multiplications in the convolutions and linear layers of a forward pass of one image."""
    work = 0

    def count(module: Any, _: object, output: Tensor) -> None:
        nonlocal work
        work += output.numel() * module.weight[0].numel()

    layers = [module for module in network.module.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    shape = network.image_shape
    try:
        with evaluating(network):
            network(zeros(network.module, 1, shape.channels, shape.height, shape.width))
    finally:
        for handle in handles:
            handle.remove()
    return work


class Stack(nn.Module):
    """Networks of one architecture, each of which computes on images of its own.

    It has copies of their weights, that of S networks in one tensor; :meth:`unstack` writes these
    back.

    Args:
        networks: networks for which :func:`is_stackable` holds, of the same architecture and
            options, on one device.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        self._networks = networks
        self.module = copy.deepcopy(networks[0].module)
        for module, *others in self._parts():
            with torch.no_grad():
                _join(module, others)
            _regroup(module, len(networks))
        for module in self.module.modules():
            if isinstance(module, Attention):  # queries, keys and values of all networks, one after the other
                module.qkv.parts = 3  # type: ignore[assignment]
        # Pooling and convolutions of few channels are several times as fast with the channels of a
        # pixel side by side; group norm is several times as slow.
        maps = any(isinstance(module, nn.GroupNorm) for module in self.module.modules())
        self._format = torch.contiguous_format if maps else torch.channels_last
        self.module.to(memory_format=self._format)

    def forward(self, images_SBCHW: Tensor) -> Tensor:
        """Logits (S, B, K) of every network's own images (S, B, C, H, W)."""
        size, count = images_SBCHW.shape[:2]
        images = images_SBCHW.transpose(0, 1).flatten(1, 2).contiguous(memory_format=self._format)
        logits_SBK: Tensor = self.module(images).view(count, size, -1).transpose(0, 1)
        return logits_SBK

    @torch.no_grad()
    def unstack(self) -> None:
        """Write weights and running statistics into the networks that the stack was made of."""
        for module, *others in self._parts():
            for name, value in _tensors(module).items():
                parts = _split(module, name, value, len(others))
                for other, part in zip(others, parts, strict=True):
                    _tensors(other)[name].copy_(part)

    def _parts(self) -> list[tuple[nn.Module, ...]]:
        """Every module of the stack with its counterparts in the networks."""
        modules = [self.module.modules(), *(network.module.modules() for network in self._networks)]
        return list(zip(*modules, strict=True))


class _Linears(nn.Linear):
    """Linear layers of S networks: values (..., S * I) to (..., S * O).

    Attributes:
        weight: weights, (S, I, O).
        bias: biases, (S * O,).
        parts: number P of vectors that an output consists of, which is in the order (P, S, O / P).
    """

    parts: int

    def forward(self, input: Tensor) -> Tensor:
        size, inputs, outputs = self.weight.shape
        values_SNI = input.reshape(-1, size, inputs).transpose(0, 1)
        mapped_SNO = torch.baddbmm(self.bias.view(size, 1, outputs), values_SNI, self.weight)
        ordered: Tensor = mapped_SNO.unflatten(2, (self.parts, -1)).permute(1, 2, 0, 3)
        return ordered.reshape(*input.shape[:-1], size * outputs)


class _LayerNorms(nn.LayerNorm):
    """Layer norms of S networks over ``normalized_shape``, of which the first size is S times as
    large in values, weight and bias."""

    def forward(self, input: Tensor) -> Tensor:
        shape = (-1, *self.normalized_shape)
        first = input.ndim - len(self.normalized_shape)
        values = F.layer_norm(input.unflatten(first, shape[:2]), self.normalized_shape, eps=self.eps)
        return torch.addcmul(self.bias.view(shape), values, self.weight.view(shape)).flatten(first, first + 1)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """The module's own parameters and buffers."""
    return {name: value for name, value in (module._parameters | module._buffers).items() if value is not None}


def _join(module: nn.Module, others: Sequence[nn.Module]) -> None:
    """Give a module the weights and buffers of all its counterparts; see :func:`_split`."""
    for name in _tensors(module):
        values = [_tensors(other)[name] for other in others]
        if isinstance(module, nn.Linear) and name == "weight":
            # As it is multiplied, so that its gradient needs no transposing.
            joined = torch.stack([value.T for value in values])
        elif values[0].ndim == 0:  # number of batches seen, the same for all
            joined = values[0].clone()
        else:
            joined = torch.cat(values, _channels(module))
        if name in module._parameters:
            module._parameters[name] = nn.Parameter(joined)
        else:
            module._buffers[name] = joined


def _split(module: nn.Module, name: str, value: Tensor, size: int) -> Sequence[Tensor]:
    """What :func:`_join` has joined."""
    if isinstance(module, nn.Linear) and name == "weight":
        return value.transpose(1, 2).unbind()
    return [value] * size if value.ndim == 0 else value.chunk(size, _channels(module))


def _channels(module: nn.Module) -> int:
    """Dimension of a module's weights along which those of several networks lie."""
    return -1 if isinstance(module, VisionTransformer) else 0  # class token and position embedding


def _regroup(module: Any, size: int) -> None:
    """Let a module with the weights of ``size`` networks work on as many groups of channels."""
    if isinstance(module, nn.Conv2d):
        module.__class__ = nn.Conv2d
        module.groups *= size
    elif isinstance(module, nn.GroupNorm):
        module.__class__ = nn.GroupNorm
        module.num_groups *= size
    elif isinstance(module, nn.LayerNorm):
        module.__class__ = _LayerNorms
    elif isinstance(module, nn.Linear):
        module.__class__ = _Linears
        module.parts = 1  # type: ignore[assignment]
    elif isinstance(module, Attention):
        module.heads *= size
