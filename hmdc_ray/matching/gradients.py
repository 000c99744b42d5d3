"""One target's gradient with respect to the synthetic images of one class.

The targets are one classification target per pool member (DC; HMDC section 3.1) and one distillation target for the whole
pool. The latter is split over processes in three exchanges: features, gradients with cotangents of the consensus,
and the pull-back of the summed cotangents. Nothing here accumulates into network parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hmdc_ray.matching.distances import Metric, distance
from hmdc_ray.matching.distillation import Agreement


@dataclass(frozen=True)
class DistillationTerm:
    """What one member gives to the distillation target of a class.

    Attributes:
        loss: the member's term of L_F.
        images: its gradient with respect to the images through the member's own graph.
        cotangent: its gradient with respect to the consensus of the synthetic batch.
    """

    loss: Tensor
    images: Tensor
    cotangent: Tensor


def classification_gradient(logits: Tensor, labels: Tensor, parameters: Sequence[Tensor], create_graph: bool) -> list[Tensor]:
    """g(x, y): gradient of the mean cross-entropy with respect to every parameter (zeros for one that is not used)."""
    loss = F.cross_entropy(logits, labels)
    found = torch.autograd.grad(loss, parameters, create_graph=create_graph, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def classification_target(
    metric: Metric, real: Sequence[Tensor], synthetic: Sequence[Tensor], images: Tensor, keep_graph: bool
) -> tuple[Tensor, Tensor]:
    """L_k of a class and its gradient with respect to the images.

    Args:
        metric: distance between gradients.
        real: g on the real batch, constants.
        synthetic: g on the synthetic batch, with graph.
        images: the leaf from which the synthetic batch was made.
        keep_graph: whether the forward graph is needed again.
    """
    loss = distance(metric, real, synthetic)
    (gradient,) = torch.autograd.grad(loss, images, retain_graph=keep_graph)
    return loss.detach(), gradient


def agreement_gradient(
    agreement: Agreement, member: int, features: Tensor, consensus: Tensor, parameters: Sequence[Tensor], create_graph: bool
) -> list[Tensor | None]:
    """h(x): gradient of L_MD with respect to the member's parameters; None for one that no tap depends on."""
    loss = agreement.loss(member, features, consensus)
    return list(torch.autograd.grad(loss, parameters, create_graph=create_graph, retain_graph=create_graph, allow_unused=True))


def distillation_target(
    agreement: Agreement,
    member: int,
    real: Sequence[Tensor | None],
    features: Tensor,
    consensus: Tensor,
    parameters: Sequence[Tensor],
    images: Tensor,
) -> DistillationTerm:
    """One member's term of L_F of a class, with its two gradients. The graph of ``features`` is kept for the pull-back.

    Args:
        agreement: tokens of the members drawn.
        member: position of this one among them.
        real: h on the real batch.
        features: aligned features of the synthetic batch, (B, L, T, D), with graph.
        consensus: mean of the members' features, same shape, a constant.
        parameters: of the member's network.
        images: the leaf from which the synthetic batch was made.
    """
    leaf = consensus.detach().requires_grad_()
    synthetic = agreement_gradient(agreement, member, features, leaf, parameters, create_graph=True)
    pairs = [(r, s) for r, s in zip(real, synthetic, strict=True) if r is not None and s is not None]
    loss = distance("mse", [r for r, _ in pairs], [s for _, s in pairs])
    gradient, cotangent = torch.autograd.grad(loss, (images, leaf), retain_graph=True)
    return DistillationTerm(loss.detach(), gradient, cotangent)


def pull_back(features: Tensor, cotangent: Tensor, images: Tensor) -> Tensor:
    """Gradient with respect to the images of the consensus' share in L_F, through one member's features.

    Args:
        features: aligned features of the synthetic batch, with graph, which is freed.
        cotangent: the members' cotangents, summed, divided by the number of members, and masked to this one's tokens.
        images: the leaf from which the synthetic batch was made.
    """
    # Not grad's own argument for it, for which torch imports sympy: a second of processor time in every worker.
    (gradient,) = torch.autograd.grad((features * cotangent).sum(), images)
    return gradient
