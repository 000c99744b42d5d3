"""The synthetic images and their optimiser.

Shapes: K classes, I stored images per class, C x H x W an image, in normalised space: ``pixels = images * std + mean``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hmdc_ray.config import ImagesConfig


class SyntheticImages:
    """Images, momentum and version; every applied step adds 1 to the version.

    Args:
        images_KICHW: the initial images, normalised; copied.
        mean: per channel, on the scale [0, 1].
        std: per channel, on the scale [0, 1].
        config: learning rate, momentum, normalisation, clipping.
    """

    def __init__(self, images_KICHW: Tensor, mean: Sequence[float], std: Sequence[float], config: ImagesConfig) -> None:
        self.images_KICHW = images_KICHW.clone()
        self.momentum_KICHW = torch.zeros_like(self.images_KICHW)
        self.version = 0
        self.config = config
        mean_C11, std_C11 = (torch.tensor(values).to(images_KICHW)[:, None, None] for values in (mean, std))
        self.lowest_C11, self.highest_C11 = -mean_C11 / std_C11, (1 - mean_C11) / std_C11

    def apply(self, direction_KICHW: Tensor) -> tuple[int, ...]:
        """One step of SGD with momentum for all classes along the balanced direction (HMDC algorithm 1; DC).

        With ``normalise: max`` each image and channel is first divided by its largest absolute entry; one that is zero stays
        zero. With ``clip`` pixels are then clamped to [0, 1]; pixels in range are left untouched.

        A class whose images or momentum would not stay finite is held back: it keeps both.

        Returns:
            The classes held back.
        """
        held = tuple(label for label, direction_ICHW in enumerate(direction_KICHW) if not self._apply_to(label, direction_ICHW))
        self.version += 1
        return held

    def _apply_to(self, label: int, direction_ICHW: Tensor) -> bool:
        """The step of one class, so that what is needed in between is small; returns whether its values stayed finite."""
        if self.config.normalise == "max":
            largest = direction_ICHW.abs().amax(dim=(-2, -1), keepdim=True)
            direction_ICHW = torch.where(largest > 0, direction_ICHW / largest, 0.0)
        momentum_ICHW = self.config.momentum * self.momentum_KICHW[label] + direction_ICHW
        images_ICHW = self.images_KICHW[label] - self.config.learning_rate * momentum_ICHW
        if not bool(images_ICHW.isfinite().all() & momentum_ICHW.isfinite().all()):
            return False
        if self.config.clip:
            images_ICHW = images_ICHW.maximum(self.lowest_C11).minimum(self.highest_C11)
        self.momentum_KICHW[label] = momentum_ICHW
        self.images_KICHW[label] = images_ICHW
        return True
