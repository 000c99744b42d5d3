"""One network's training, epoch by epoch, in one of several workers (data parallel:
DistributedDataParallel)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from hmdc_ray.config import StudentConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import DeadEndError
from hmdc_ray.evaluation.images import split_batches
from hmdc_ray.evaluation.protocol import Recipe
from hmdc_ray.evaluation.training import accuracy, sgd
from hmdc_ray.models.network import Network
from hmdc_ray.models.registry import build_section
from hmdc_ray.pretrain.batches import GlobalBatches, Group
from hmdc_ray.pretrain.plan import MeasuredSplit, network_key
from hmdc_ray.seeding import forked
from hmdc_ray.system.transfer import to_device

_NETWORK, _MOMENTUM = "network.", "momentum."


class Training:
    """A network and its optimiser in training; the weights after the last epoch are the result.

    The weights are a function of the network, the recipe, the seed and the global batches. With
    several workers a step's sums have another order, so that losses agree up to rounding only;
    layers that see a part of the batch (BatchNorm) or draw for it (dropout) make a larger
    difference.

    Args:
        section: configuration of the network.
        recipe: recipe of the training; CutMix is left out if the network works on tokens and the
            recipe says so.
        dataset: data whose training split is learned.
        seed: seed of all draws.
        group: this worker's place; with more than one worker, torch's process group exists.
        device: device of the network.

    Attributes:
        network: the network itself.
        epoch: epochs done.
        losses: mean loss of every step done, over the global batch.

    Raises:
        InputError: the network cannot be built.
    """

    def __init__(
        self, section: StudentConfig, recipe: Recipe, dataset: ImageDataset, seed: int, group: Group, device: torch.device
    ) -> None:
        info, self._key = dataset.info, network_key(seed, section)
        classes = len(info.class_names)
        self.network: Network = build_section(section, info.shape, classes, self._key, info.normalisation).to(device)
        recipe = recipe.for_network(self.network)
        self._name, self._recipe, self._dataset, self._group, self._device = section.name, recipe, dataset, group, device
        self._batches = GlobalBatches(dataset, recipe, self._key, device)
        self._optimiser = sgd(self.network, recipe, recipe.learning_rate)
        self.epoch = 0
        self.losses: list[float] = []

    @property
    def epochs(self) -> int:
        """Epochs in all."""
        return self._recipe.trained_epochs

    def parallel(self) -> nn.Module:
        """The network for forward passes: with several workers, one that averages gradients. Call
        again after a restart."""
        return self.network if self._group.workers == 1 else DistributedDataParallel(self.network)

    def train_epoch(self, network: nn.Module) -> None:
        """Train one epoch.

        Args:
            network: network from :meth:`parallel`.

        Raises:
            RunError: the loss is not finite, in every worker alike.
        """
        epoch, recipe = self.epoch, self._recipe
        falls = sum(fall <= epoch for fall in recipe.falls)
        for group in self._optimiser.param_groups:
            group["lr"] = recipe.learning_rate * recipe.decay**falls
        if recipe.fresh_optimiser and epoch in recipe.falls:
            self._optimiser.state.clear()
        network.train()
        losses = torch.stack([self._step(network, epoch, batch) for batch in range(len(self._batches))])
        if self._group.workers > 1:
            distributed.all_reduce(losses)
        found = (losses / self._group.workers).tolist()
        if not all(map(math.isfinite, found)):
            raise DeadEndError(
                f"network {self._name!r}: the loss is not finite in epoch {epoch}; training diverges at learning rate "
                f"{recipe.learning_rate:g}, give a smaller learning_rate to {self._name!r} in evaluation.students, "
                "and start anew with --overwrite"
            )
        self.losses += found
        self.epoch += 1

    def _step(self, network: nn.Module, epoch: int, batch: int) -> Tensor:
        """Take one step; returns the weighted loss of this worker's part, a scalar."""
        part = self._batches.part(epoch, batch, self._group)
        draws = replace(self._key, stream="train_network", iteration=epoch, step=batch, batch=self._group.worker)
        with forked(draws):  # dropout
            loss = part.loss(network(part.mixed.images))
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return loss.detach()

    def accuracy(self, split: MeasuredSplit) -> float:
        """The fraction, in [0, 1], of the split's images that are classified correctly."""
        return accuracy(self.network, split_batches(self._dataset, split, self._device))

    def save(self, path: Path) -> None:
        """Write network and optimiser as safetensors; :attr:`epoch` and :attr:`losses` are kept
        elsewhere."""
        tensors = {_NETWORK + name: tensor for name, tensor in self.network.state_dict().items()}
        for position, parameter in enumerate(self.network.parameters()):
            momentum = self._optimiser.state.get(parameter, {}).get("momentum_buffer")
            if momentum is not None:
                tensors[f"{_MOMENTUM}{position}"] = momentum
        # Clones, because the format refuses tensors that share memory, as tied weights do.
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path)

    def load(self, path: Path, losses: list[float]) -> None:
        """Resume from a file of :meth:`save`, with the losses of the steps done by then."""
        saved = load_file(path)
        tensors = dict(zip(saved, to_device(list(saved.values()), self._device), strict=True))
        self.network.load_state_dict(
            {name.removeprefix(_NETWORK): tensor for name, tensor in tensors.items() if name.startswith(_NETWORK)}
        )
        for position, parameter in enumerate(self.network.parameters()):
            momentum = tensors.get(f"{_MOMENTUM}{position}")
            if momentum is not None:
                self._optimiser.state[parameter]["momentum_buffer"] = momentum
        self.losses = [*losses]
        self.epoch = len(losses) // len(self._batches)
