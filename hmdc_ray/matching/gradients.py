"""One target's gradient with respect to the synthetic images of one class.

The targets are one classification target per pool member (DC; HMDC section 3.1) and one
distillation target for the whole pool (HMDC section 3.3). The latter is split over processes in
three exchanges: features, gradients with cotangents of the consensus, and the pull-back of the
summed cotangents. Nothing here touches a parameter's ``grad``.

Shapes: B images of a batch, K classes of the data, I stored images of the class, C x H x W an
image; L layers, T tokens, D channels of aligned features. A list of gradients has one tensor per
parameter, of that parameter's shape.
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
        loss: the member's term of L_F, a scalar.
        gradient_ICHW: gradient of the term with respect to the images, through the member's own
            graph.
        cotangent_BLTD: gradient of the term with respect to the consensus of the synthetic batch.
    """

    loss: Tensor
    gradient_ICHW: Tensor
    cotangent_BLTD: Tensor


def classification_gradient(
    logits_BK: Tensor, labels_B: Tensor, parameters: Sequence[Tensor], create_graph: bool
) -> list[Tensor]:
    """g(x, y): gradient of the mean cross-entropy with respect to every parameter (zeros for one
    that is not used)."""
    loss = F.cross_entropy(logits_BK, labels_B)
    # The graph of the forward is kept: L_MD of the same batch may need it next.
    found = torch.autograd.grad(loss, parameters, create_graph=create_graph, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def classification_target(
    metric: Metric, real: Sequence[Tensor], synthetic: Sequence[Tensor], images_ICHW: Tensor, keep_graph: bool
) -> tuple[Tensor, Tensor]:
    """L_k of a class and its gradient with respect to the images.

    Args:
        metric: distance between gradients.
        real: g on the real batch, constants.
        synthetic: g on the synthetic batch, with graph.
        images_ICHW: the leaf from which the synthetic batch was made.
        keep_graph: whether the forward graph is needed again.

    Returns:
        The loss, a scalar without graph, and dL_k/dS, (I, C, H, W).
    """
    loss = distance(metric, real, synthetic)  # L_k = D(g_k(real), g_k(synthetic)): DC's gradient matching, HMDC section 3.1
    (gradient_ICHW,) = torch.autograd.grad(loss, images_ICHW, retain_graph=keep_graph)
    return loss.detach(), gradient_ICHW


def agreement_gradient(
    agreement: Agreement,
    member: int,
    features_BLTD: Tensor,
    consensus_BLTD: Tensor,
    parameters: Sequence[Tensor],
    create_graph: bool,
) -> list[Tensor | None]:
    """h(x): gradient of L_MD with respect to the member's parameters; None for one that no tap
    depends on.

    The graph of ``features_BLTD`` is freed unless ``create_graph``.
    """
    # The member's own term is enough: the others depend on its parameters through the consensus
    # only, and the derivative of the whole sum through the consensus is 0, because differences from
    # a mean sum to 0.
    loss = agreement.loss(member, features_BLTD, consensus_BLTD)
    return list(torch.autograd.grad(loss, parameters, create_graph=create_graph, retain_graph=create_graph, allow_unused=True))


def distillation_target(
    agreement: Agreement,
    member: int,
    real: Sequence[Tensor | None],
    features_BLTD: Tensor,
    consensus_BLTD: Tensor,
    parameters: Sequence[Tensor],
    images_ICHW: Tensor,
) -> DistillationTerm:
    """One member's term of L_F of a class, with its two gradients. The graph of the features is
    kept for the pull-back.

    Args:
        agreement: tokens of the members drawn.
        member: position of this one among them.
        real: h on the real batch, constants.
        features_BLTD: aligned features of the synthetic batch, with graph.
        consensus_BLTD: mean of the members' features, a constant.
        parameters: parameters of the member's network.
        images_ICHW: the leaf from which the synthetic batch was made.
    """
    # The consensus hides the other members' graphs, which live in other processes: as a leaf it
    # collects the cotangent that every member will pull back. Detached from this member's features
    # too, or its part would be counted twice.
    leaf_BLTD = consensus_BLTD.detach().requires_grad_()
    synthetic = agreement_gradient(agreement, member, features_BLTD, leaf_BLTD, parameters, create_graph=True)
    pairs = [(r, s) for r, s in zip(real, synthetic, strict=True) if r is not None and s is not None]
    # L_F = sum_k |h_k(real) - h_k(synthetic)|^2 (HMDC section 3.3), always squared: the metric is
    # for L_k only.
    loss = distance("mse", [r for r, _ in pairs], [s for _, s in pairs])
    gradient_ICHW, cotangent_BLTD = torch.autograd.grad(loss, (images_ICHW, leaf_BLTD), retain_graph=True)
    return DistillationTerm(loss.detach(), gradient_ICHW, cotangent_BLTD)


def pull_back(features_BLTD: Tensor, cotangent_BLTD: Tensor, images_ICHW: Tensor) -> Tensor:
    """The part of dL_F/dS, (I, C, H, W), that reaches the consensus through one member's features.

    Args:
        features_BLTD: aligned features of the synthetic batch, with graph, which is freed.
        cotangent_BLTD: sum of the members' cotangents, divided by how many have the token, masked
            to this one's tokens.
        images_ICHW: the leaf from which the synthetic batch was made.
    """
    # sum_t <F_t, cotangent_t> has the gradient J^T cotangent. Written so, and not as grad's own
    # argument, for which torch imports sympy: a second of processor time in every worker.
    (gradient_ICHW,) = torch.autograd.grad((features_BLTD * cotangent_BLTD).sum(), images_ICHW)
    return gradient_ICHW
