"""Running statistics of BatchNorm while gradients are matched."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def _batchnorms(network: nn.Module) -> Iterator[_BatchNorm]:
    return (module for module in network.modules() if isinstance(module, _BatchNorm))


def has_batchnorm(network: nn.Module) -> bool:
    """Whether any layer is a BatchNorm, that is, keeps running statistics that training updates."""
    return any(True for _ in _batchnorms(network))


def freeze_batchnorm(network: nn.Module, frozen: bool) -> None:
    """Fix the running statistics of BatchNorm, or let training update them again.

    DC (Zhao, Mopuri, Bilen, arXiv 2006.05929, released code) matches gradients with fixed
    statistics. ``network.train()`` un-freezes, so freeze after it.

    Args:
        network: network changed in place: only the mode of its BatchNorm layers.
        frozen: whether these layers normalise with their running statistics and do not update them;
            False: they follow the network's own mode.
    """
    for layer in _batchnorms(network):
        layer.train(network.training and not frozen)
