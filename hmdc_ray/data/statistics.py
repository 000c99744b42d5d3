"""Mean and standard deviation of the pixels of a data set, per channel, on the [0, 1] scale."""

from __future__ import annotations

import numpy as np

from hmdc_ray.config.statistics import Statistics
from hmdc_ray.data.schema import Pixels


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
