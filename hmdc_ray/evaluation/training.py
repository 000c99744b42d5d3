"""Train one student and measure its accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmdc_ray.data.cutmix import cutmix
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
    order = replace(key, stream="student_order").generator()
    vary = variation(recipe, replace(key, stream="student_augmentation").generator())
    rate, falls = recipe.learning_rate, recipe.falls
    optimiser = sgd(network, recipe, rate)
    network.train()
    with forked(replace(key, stream="student", step=1)):
        for epoch in range(recipe.trained_epochs):
            for _ in range(falls.count(epoch)):
                rate *= recipe.decay
                optimiser = _lowered(optimiser, network, recipe, rate)
            shuffled = torch.randperm(len(images_NCHW), generator=order).to(labels_N.device)
            for batch, places in enumerate(batch_slices(len(shuffled), recipe.batch)):
                rows = shuffled[places]
                images_BCHW, labels_B = images_NCHW[rows], labels_N[rows]
                if vary is not None:
                    images_BCHW = vary(images_BCHW)
                if recipe.cutmix:
                    mixed = cutmix(images_BCHW, labels_B, replace(key, stream="cutmix", step=epoch, batch=batch))
                    images_BCHW = mixed.images
                logits_BK = network(images_BCHW)
                loss = mixed.loss(logits_BK) if recipe.cutmix else F.cross_entropy(logits_BK, labels_B)
                if teacher is not None:
                    loss = teacher.loss(images_BCHW, logits_BK, loss)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            if not math.isfinite(loss.item()):
                raise FloatingPointError(f"the loss is {loss.item()} in epoch {epoch}")


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


@torch.inference_mode()
def accuracy(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The fraction of images that a network classifies correctly; it is set to evaluation mode, and
    left in it.

    Args:
        network: network on the device of the batches.
        batches: pairs of normalised images (B, C, H, W) and class indices (B,); at least one image
            in all. Taken one by one, so that a large test split is never whole in memory.

    Returns:
        A fraction in [0, 1].
    """
    network.eval()
    correct = total = 0
    for images_BCHW, labels_B in batches:
        correct += int((network(images_BCHW).argmax(dim=1) == labels_B).sum())
        total += len(labels_B)
    return correct / total
