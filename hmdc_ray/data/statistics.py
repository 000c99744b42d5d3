"""Mean and standard deviation of the pixels of a data set, per channel, on the [0, 1] scale."""

from __future__ import annotations

import numpy as np

from hmdc_ray.data.schema import Pixels

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel."""

KNOWN: dict[str, Statistics] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashionmnist": ((0.2861,), (0.3530,)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
}
"""The constants of the code of Zhao et al., "Dataset Condensation with Gradient Matching", utils.py, get_dataset. Those
of CIFAR's deviations are means of the images' own deviations, smaller than the deviation over all pixels."""


class PixelHistogram:
    """Counts pixel values per channel, so that statistics are exact however the images are cut into batches.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int) -> None:
        self._counts_CV = np.zeros((channels, 256), dtype=np.int64)

    def add(self, pixels_NCHW: Pixels) -> None:
        """Count the pixels of a batch; a batch of no images counts nothing."""
        for channel, counts in enumerate(self._counts_CV):
            counts += np.bincount(pixels_NCHW[:, channel].reshape(-1), minlength=256)

    def statistics(self) -> Statistics:
        """Mean and standard deviation (over all pixels) per channel; 1 in place of a deviation of 0."""
        values_V = np.arange(256) / 255
        weights_CV = self._counts_CV / self._counts_CV.sum(axis=1, keepdims=True)
        mean_C = weights_CV @ values_V
        std_C = np.sqrt((weights_CV * (values_V - mean_C[:, None]) ** 2).sum(axis=1))
        std_C[std_C == 0] = 1.0
        return tuple(mean_C.tolist()), tuple(std_C.tolist())
