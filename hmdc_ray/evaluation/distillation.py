"""Knowledge distillation (Hinton et al., arXiv 1503.02531): a trained teacher tells a student more
than the labels do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Teacher:
    """A trained network and its weight in the student's loss.

    Attributes:
        network: the network, in evaluation mode.
        alpha: weight of the distillation term in the loss, in [0, 1].
        temperature: temperature tau of both softmaxes, above 0.
    """

    network: nn.Module
    alpha: float
    temperature: float

    def loss(self, images_BCHW: Tensor, logits_BK: Tensor, label_loss: Tensor) -> Tensor:
        """The student's loss, a scalar: alpha tau^2 KL(softmax(t / tau) || softmax(s / tau)) + (1 -
        alpha) CE.

        Args:
            images_BCHW: the student's batch, augmented and mixed.
            logits_BK: the student's logits s; those of the teacher are t.
            label_loss: the student's loss on labels CE, a scalar.
        """
        with torch.no_grad():
            teacher_BK = self.network(images_BCHW)
        divergence = distillation_loss(logits_BK, teacher_BK, self.temperature)
        return self.alpha * divergence + (1 - self.alpha) * label_loss


def distillation_loss(logits_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """tau^2 KL(softmax(t / tau) || softmax(s / tau)), mean over the batch; tau^2 keeps the size of
    the gradient."""
    divergence = F.kl_div(
        F.log_softmax(logits_BK / temperature, dim=1),
        F.log_softmax(teacher_BK / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence
