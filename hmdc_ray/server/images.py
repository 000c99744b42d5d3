"""The synthetic images and their optimiser.

Shapes: K classes, I stored images per class, C x H x W an image, in normalised space:
``pixels = images * std + mean``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hmdc_ray.config import ImagesConfig
from hmdc_ray.exchange.tensors import all_finite, zeros_on_disk


class SyntheticImages:
    """Images, momentum and version; every applied step makes new images and momentum, and adds 1 to
    the version.

    Args:
        images_KICHW: the initial images, normalised.
        mean: mean of the data per channel, on the scale [0, 1].
        std: standard deviation of the data per channel, on the scale [0, 1].
        config: learning rate, momentum, normalisation, clipping.

    Attributes:
        lowest_C11: normalised value of the pixel 0 in each channel, (0 - mean) / std.
        highest_C11: normalised value of the pixel 1 in each channel, (1 - mean) / std.
    """

    def __init__(self, images_KICHW: Tensor, mean: Sequence[float], std: Sequence[float], config: ImagesConfig) -> None:
        self.images_KICHW = images_KICHW
        self.momentum_KICHW = zeros_on_disk(images_KICHW)
        self.version = 0
        self.config = config
        mean_C11, std_C11 = (torch.tensor(values, dtype=images_KICHW.dtype)[:, None, None] for values in (mean, std))
        self.lowest_C11, self.highest_C11 = -mean_C11 / std_C11, (1 - mean_C11) / std_C11

    def apply(self, direction_KICHW: Tensor) -> tuple[int, ...]:
        """One step of SGD with momentum for all classes along the balanced direction (HMDC
        algorithm 1; DC).

        With ``normalise: max`` each image and channel is first divided by its largest absolute
        entry; one that is zero stays zero. With ``clip`` pixels are then clamped to [0, 1]; pixels
        in range are left untouched.

        A class whose images would not stay finite is skipped: it keeps its images and momentum.

        Args:
            direction_KICHW: update direction G; it becomes the momentum and must not be used
                afterwards. The images and momentum from before the step are not changed, for
                whoever still reads them.

        Returns:
            Positions of the skipped classes.
        """
        images_KICHW = zeros_on_disk(self.images_KICHW)
        skipped = []
        for label, momentum_ICHW in enumerate(direction_KICHW):  # class by class, which the processor's cache may hold
            before_ICHW, after_ICHW = self.images_KICHW[label], images_KICHW[label]
            if self.config.normalise == "max":
                # No epsilon (HMDC's released code adds 1e-6): a gradient that the balance scaled
                # may be smaller.
                largest_IC11 = momentum_ICHW.abs().amax(dim=(-2, -1), keepdim=True)
                momentum_ICHW.div_(torch.where(largest_IC11 > 0, largest_IC11, 1.0))
            # m = G + momentum * m;  S = S - learning rate * m
            momentum_ICHW.add_(self.momentum_KICHW[label], alpha=self.config.momentum)
            torch.sub(before_ICHW, momentum_ICHW, alpha=self.config.learning_rate, out=after_ICHW)
            if not all_finite(after_ICHW):  # which they are not where the momentum is not
                momentum_ICHW.copy_(self.momentum_KICHW[label])
                after_ICHW.copy_(before_ICHW)
                skipped.append(label)
            elif self.config.clip:  # in normalised space: to pixels and back would move those in range
                torch.maximum(after_ICHW, self.lowest_C11, out=after_ICHW)
                torch.minimum(after_ICHW, self.highest_C11, out=after_ICHW)
        self.images_KICHW, self.momentum_KICHW = images_KICHW, direction_KICHW
        self.version += 1
        return tuple(skipped)
