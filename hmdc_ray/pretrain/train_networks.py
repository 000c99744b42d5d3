"""The training in one worker: network after network, with checkpoints from which any number of
workers can resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Protocol

import torch
from torch import distributed

from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.evaluation.device import torch_threads
from hmdc_ray.models import save_weights
from hmdc_ray.pretrain.batches import Group
from hmdc_ray.pretrain.plan import Plan
from hmdc_ray.pretrain.training import Training

POSITION_FILE, STATE_FILE = "position.json", "state.safetensors"


@dataclass
class Position:
    """How far the training is; ``position.json`` in a checkpoint.

    Attributes:
        losses: mean loss of every step done, by name of the network.
        accuracies: accuracy in [0, 1] of every finished network, by name.
    """

    losses: dict[str, list[float]] = field(default_factory=dict)
    accuracies: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Position:
        """The position of a checkpoint."""
        return cls(**json.loads((folder / POSITION_FILE).read_text(encoding="utf-8")))


class Outside(Protocol):
    """What surrounds a worker: Ray Train, or a test."""

    def checkpoint(self, write: Callable[[Path], None]) -> None:
        """Keep the files that ``write`` puts into an empty folder; all workers call this together,
        the first one writes."""

    def epoch_done(self, name: str, epoch: int, epochs: int) -> bool:
        """Report an epoch, which only the first worker does; returns whether to stop."""


def weights_file(folder: Path, name: str) -> Path:
    """File of a network's weights in a folder."""
    return folder / f"{name}.safetensors"


class Course:
    """One worker's way through a plan.

    Args:
        plan: plan of the training.
        group: this worker's place among the others.
        device: device of the networks.
        outside: surroundings that keep checkpoints and receive progress.
        scratch: folder for the weights of finished networks.
    """

    def __init__(self, plan: Plan, group: Group, device: torch.device, outside: Outside, scratch: Path) -> None:
        self._plan = plan
        self._group = group
        self._device = device
        self._outside = outside
        self._scratch = scratch
        self._position = Position()
        self._saved = monotonic()

    def run(self, checkpoint: Path | None) -> None:
        """Train what is not trained yet, from the folder of a checkpoint or from the start.

        Raises:
            InputError: data or a network cannot be had on this node.
            RunError: a training diverges.
        """
        if checkpoint is not None:
            self._position = Position.read(checkpoint)
            for name in self._position.accuracies:
                shutil.copy(weights_file(checkpoint, name), self._scratch)
        with torch_threads(self._plan.threads):
            dataset = open_dataset(self._plan.data)
            for section, recipe in zip(self._plan.networks, self._plan.recipes, strict=True):
                if section.name in self._position.accuracies:
                    continue
                training = Training(section, recipe, dataset, self._plan.seed, self._group, self._device)
                if checkpoint is not None and section.name in self._position.losses:
                    training.load(checkpoint / STATE_FILE, self._position.losses[section.name])
                if not self._finish(training, section.name):
                    return

    def _finish(self, training: Training, name: str) -> bool:
        """Train a network to its end, or until asked to stop; returns False if so."""
        network, stop = training.parallel(), False
        self._position.losses[name] = training.losses
        while training.epoch < training.epochs and not stop:
            training.train_epoch(network)
            due, stop = self._agree(name, training)
            if training.epoch < training.epochs and (due or stop):
                self._checkpoint(training)
        if training.epoch == training.epochs:
            if self._group.worker == 0:
                self._position.accuracies[name] = training.accuracy(self._plan.split)
                save_weights(training.network, weights_file(self._scratch, name))
            self._checkpoint(None)
        return not stop

    def _agree(self, name: str, training: Training) -> tuple[bool, bool]:
        """Whether a checkpoint is due, and whether to stop; the first worker decides for all."""
        answer = torch.zeros(2, device=self._device)
        if self._group.worker == 0:
            answer[0] = monotonic() - self._saved >= self._plan.checkpoint_seconds
            answer[1] = self._outside.epoch_done(name, training.epoch, training.epochs)
        if self._group.workers > 1:
            distributed.broadcast(answer, src=0)
        due, stop = answer.bool().tolist()
        return due, stop

    def _checkpoint(self, training: Training | None) -> None:
        def write(folder: Path) -> None:
            for name in self._position.accuracies:
                shutil.copy(weights_file(self._scratch, name), folder)
            if training is not None:
                training.save(folder / STATE_FILE)
            (folder / POSITION_FILE).write_text(json.dumps(asdict(self._position)), encoding="utf-8")

        self._outside.checkpoint(write)
        self._saved = monotonic()
