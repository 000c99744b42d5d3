"""CutMix (Yun et al., ICCV 2019), one draw a batch. For training and evaluation, never for
matching."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hmdc_ray.seeding import Key

PROBABILITY = 0.5


@dataclass(frozen=True)
class Mixed:
    """A batch after CutMix.

    Attributes:
        images: mixed images, (B, C, H, W).
        labels: class index of each image, (B,).
        pasted_labels: class index of what was pasted into each image, (B,).
        own_part: part of each image that is still its own, 0 to 1.
    """

    images: Tensor
    labels: Tensor
    pasted_labels: Tensor
    own_part: float

    def loss(self, logits: Tensor) -> Tensor:
        """Cross-entropy of logits (B, K) against both labels, weighted by area."""
        own, pasted = F.cross_entropy(logits, self.labels), F.cross_entropy(logits, self.pasted_labels)
        return self.own_part * own + (1 - self.own_part) * pasted


def cutmix(images_BCHW: Tensor, labels: Tensor, key: Key) -> Mixed:
    """Paste a rectangle of a shuffled copy of the batch, with labels (B,), into it, or leave the
    batch as it is."""
    generator = key.numpy()
    applied, part, y, x = generator.random(4)
    if applied >= PROBABILITY:
        return Mixed(images_BCHW, labels, labels, 1.0)
    height, width = images_BCHW.shape[-2:]
    # Beta(1, 1) is uniform: ``part`` is the pasted share of the area, clipped at the borders. Sides
    # are truncated twice, as in the released codes of IDC and HMDC: an odd side gives a box of one
    # pixel less.
    half_height, half_width = int(height * part**0.5) // 2, int(width * part**0.5) // 2
    row, column = int(y * height), int(x * width)
    top, bottom = max(row - half_height, 0), min(row + half_height, height)
    left, right = max(column - half_width, 0), min(column + half_width, width)
    order = torch.from_numpy(generator.permutation(len(images_BCHW))).to(labels.device)
    mixed = images_BCHW.clone()
    mixed[:, :, top:bottom, left:right] = images_BCHW[order, :, top:bottom, left:right]
    return Mixed(mixed, labels, labels[order], 1 - (bottom - top) * (right - left) / (height * width))
