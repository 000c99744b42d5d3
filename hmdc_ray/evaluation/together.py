"""Train several students of one architecture at a time, as a stack.

Shapes: S students, B images, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from hmdc_ray.data.cutmix import Mixed
from hmdc_ray.evaluation.protocol import Recipe
from hmdc_ray.evaluation.training import Images, StudentBatches, epochs, require_finite
from hmdc_ray.models.network import Network
from hmdc_ray.models.stack import Stack
from hmdc_ray.seeding import Key


def train_together(
    networks: Sequence[Network], images: Sequence[tuple[Images, Tensor]], recipe: Recipe, keys: Sequence[Key]
) -> list[FloatingPointError | None]:
    """Train fresh networks in place, each with the batches that
    :func:`hmdc_ray.evaluation.training.train_student` would give it alone.

    Args:
        networks: networks that :class:`hmdc_ray.models.stack.Stack` takes.
        images: normalised images and labels of each, as many for all, on the networks' device.
        recipe: recipe of all trainings.
        keys: identity of each student.

    Returns:
        For each network the error that it would raise alone; None: it was trained. An error of one
        leaves the others alone.
    """
    students = [StudentBatches(*each, recipe, key) for each, key in zip(images, keys, strict=True)]
    stack = Stack(networks).train()
    found: list[FloatingPointError | None] = [None] * len(networks)
    for epoch, optimiser in epochs(stack, recipe):
        for batches in zip(*(student.batches(epoch) for student in students), strict=True):
            losses_S = _losses(stack, batches, recipe)
            optimiser.zero_grad()
            losses_S.sum().backward()
            optimiser.step()
        for place, loss in enumerate(losses_S.tolist()):
            try:
                require_finite(loss, epoch)
            except FloatingPointError as error:
                found[place] = found[place] or error
        if None not in found:
            break
    stack.unstack()
    return found


def _losses(stack: Stack, batches: Sequence[Mixed], recipe: Recipe) -> Tensor:
    """The loss of every student on its own batch, (S,)."""
    logits_SBK = stack(torch.stack([batch.images for batch in batches]))

    own_S = _cross_entropies(logits_SBK, [batch.labels for batch in batches])
    if not recipe.cutmix:
        return own_S
    pasted_S = _cross_entropies(logits_SBK, [batch.pasted_labels for batch in batches])
    part_S = torch.tensor([batch.own_part for batch in batches]).to(own_S)
    return part_S * own_S + (1 - part_S) * pasted_S


def _cross_entropies(logits_SBK: Tensor, labels: Sequence[Tensor]) -> Tensor:
    """Mean cross-entropy of every student with its own labels (B,), (S,)."""
    labels_SB = torch.stack(list(labels))
    losses_N = F.cross_entropy(logits_SBK.flatten(0, 1), labels_SB.flatten(), reduction="none")
    return losses_N.view(labels_SB.shape).mean(dim=1)
