"""Train one student and measure its accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmdc_ray.data.cutmix import Mixed, cutmix
from hmdc_ray.data.cutting import batch_slices
from hmdc_ray.evaluation.augmentation import variation
from hmdc_ray.evaluation.distillation import Teacher
from hmdc_ray.evaluation.protocol import Recipe
from hmdc_ray.models.optimisers import SGD
from hmdc_ray.seeding import Key, forked


class Images(Protocol):
    """Normalised images indexed by rows, int64 (B,): a tensor (N, C, H, W), or an object that makes
    such batches on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor, /) -> Tensor: ...


def train_student(
    network: nn.Module, images_NCHW: Images, labels_N: Tensor, recipe: Recipe, key: Key, teacher: Teacher | None = None
) -> None:
    """Train a fresh network in place; the state after the last epoch is the result.

    Args:
        network: network on the device of the images; set to training mode, and left in it.
        images_NCHW: normalised images.
        labels_N: class indices, int64.
        recipe: recipe of the training, with the student's own learning rate.
        key: identity of the student; order, augmentation and mixing are drawn from its streams
            ``student_order``, ``student_augmentation`` and ``cutmix``, and the network's own draws
            (dropout) from ``student``, step 1.
        teacher: teacher of the student; without one it learns from labels alone (cross-entropy).

    Raises:
        FloatingPointError: the loss is not finite; names the epoch.
    """
    student = StudentBatches(images_NCHW, labels_N, recipe, key)
    network.train()
    with forked(replace(key, stream="student", step=1)):
        for epoch, optimiser in epochs(network, recipe):
            for batch in student.batches(epoch):
                logits_BK = network(batch.images)
                loss = batch.loss(logits_BK) if recipe.cutmix else F.cross_entropy(logits_BK, batch.labels)
                if teacher is not None:
                    loss = teacher.loss(batch.images, logits_BK, loss)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            require_finite(loss.item(), epoch)


def require_finite(loss: float, epoch: int) -> None:
    """Refuse the loss of an epoch's last batch.

    Raises:
        FloatingPointError: it is not finite; names the epoch.
    """
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss} in epoch {epoch}")


class StudentBatches:
    """The batches of a student's training, drawn from its key; see :func:`train_student` for the
    arguments."""

    def __init__(self, images_NCHW: Images, labels_N: Tensor, recipe: Recipe, key: Key) -> None:
        self._images_NCHW, self._labels_N, self._recipe, self._key = images_NCHW, labels_N, recipe, key
        self._order = replace(key, stream="student_order").generator()
        self._vary = variation(recipe, replace(key, stream="student_augmentation").generator())

    def batches(self, epoch: int) -> Iterator[Mixed]:
        """The batches of an epoch, augmented and mixed; every epoch is asked for once, in order."""
        shuffled = torch.randperm(len(self._images_NCHW), generator=self._order).to(self._labels_N.device)
        for batch, places in enumerate(batch_slices(len(shuffled), self._recipe.batch)):
            rows = shuffled[places]
            images_BCHW, labels_B = self._images_NCHW[rows], self._labels_N[rows]
            if self._vary is not None:
                images_BCHW = self._vary(images_BCHW)
            if self._recipe.cutmix:
                yield cutmix(images_BCHW, labels_B, replace(self._key, stream="cutmix", step=epoch, batch=batch))
            else:
                yield Mixed(images_BCHW, labels_B, labels_B, 1.0)


def epochs(network: nn.Module, recipe: Recipe) -> Iterator[tuple[int, SGD]]:
    """Number of each epoch, from 0, and the optimiser to use in it, at its learning rate."""
    rate, falls = recipe.learning_rate, recipe.falls
    optimiser = sgd(network, recipe, rate)
    for epoch in range(recipe.trained_epochs):
        for _ in range(falls.count(epoch)):
            rate *= recipe.decay
            optimiser = _lowered(optimiser, network, recipe, rate)
        yield epoch, optimiser


def _lowered(optimiser: SGD, network: nn.Module, recipe: Recipe, rate: float) -> SGD:
    if recipe.fresh_optimiser:
        return sgd(network, recipe, rate)
    for group in optimiser.param_groups:
        group["lr"] = rate
    return optimiser


def sgd(network: nn.Module, recipe: Recipe, learning_rate: float) -> SGD:
    """The recipe's optimiser at this learning rate."""
    # Fused: half the time of a step of the default one, which matters when an epoch is one batch of
    # ten images.
    return SGD(network.parameters(), lr=learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True)


def accuracy(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """:func:`accuracies` of one network."""
    return accuracies([network], batches)[0]


@torch.inference_mode()
def accuracies(networks: Sequence[nn.Module], batches: Iterable[tuple[Tensor, Tensor]]) -> list[float]:
    """The fraction of images that each network classifies correctly; they are set to evaluation
    mode, and left in it.

    Args:
        networks: networks on the device of the batches.
        batches: pairs of normalised images (B, C, H, W) and class indices (B,); at least one image
            in all. Taken one by one, so that a large test split is never whole in memory.

    Returns:
        A fraction in [0, 1] for each.
    """
    correct, total = [0] * len(networks), 0
    for network in networks:
        network.eval()
    for images_BCHW, labels_B in batches:
        for place, network in enumerate(networks):
            correct[place] += int((network(images_BCHW).argmax(dim=1) == labels_B).sum())
        total += len(labels_B)
    return [count / total for count in correct]
