"""Train one student and measure its accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmdc_ray.evaluation.augmentation import augment
from hmdc_ray.evaluation.protocol import Recipe
from hmdc_ray.seeding import Key, forked


def train_student(network: nn.Module, images_NCHW: Tensor, labels_N: Tensor, recipe: Recipe, key: Key) -> None:
    """Train a fresh network in place (cross-entropy on hard labels); the state after the last epoch is the result.

    Args:
        network: on the device of the images; set to training mode, and left in it.
        images_NCHW: normalised images.
        labels_N: class indices, int64.
        recipe: see :class:`Recipe`.
        key: identity of the student; order and augmentation are drawn from its streams ``student_order`` and
            ``student_augmentation``, and what the network itself draws (dropout) from ``student``, step 1.

    Raises:
        FloatingPointError: the loss is not finite; names the epoch.
    """
    order = replace(key, stream="student_order").generator()
    variation = replace(key, stream="student_augmentation").generator()
    optimiser = _sgd(network, recipe, recipe.learning_rate)
    network.train()
    with forked(replace(key, stream="student", step=1)):
        for epoch in range(recipe.epochs + 1):
            for rows in torch.randperm(len(images_NCHW), generator=order).to(images_NCHW.device).split(recipe.batch):
                batch_BCHW = images_NCHW[rows]
                if recipe.augmentation:
                    batch_BCHW = augment(batch_BCHW, variation)
                loss = F.cross_entropy(network(batch_BCHW), labels_N[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            if not math.isfinite(loss.item()):
                raise FloatingPointError(f"the loss is {loss.item()} in epoch {epoch}")
            if epoch == recipe.decay_epoch:
                optimiser = _sgd(network, recipe, recipe.learning_rate * recipe.decay)


def _sgd(network: nn.Module, recipe: Recipe, learning_rate: float) -> torch.optim.SGD:
    # Fused: half the time of a step of the default one, which matters when an epoch is one batch of ten images.
    return torch.optim.SGD(
        network.parameters(), lr=learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )


@torch.inference_mode()
def accuracy(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The fraction of images that a network classifies right, in evaluation mode, in which it is left.

    Args:
        network: on the device of the batches.
        batches: pairs of normalised images (B, C, H, W) and class indices (B,); at least one image in all. Taken one
            by one, so that a large test split is never whole in memory.

    Returns:
        In [0, 1].
    """
    network.eval()
    correct = total = 0
    for images_BCHW, labels_B in batches:
        correct += int((network(images_BCHW).argmax(dim=1) == labels_B).sum())
        total += len(labels_B)
    return correct / total
