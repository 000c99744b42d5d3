"""Normalised images of a data set on a device.

A GPU normalises images faster than they are copied to it, and pixels of eight bits are a quarter of
what they become. So pixels move, once if there is memory for all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hmdc_ray.data.dataset import ImageDataset, Rows, normalise
from hmdc_ray.data.schema import Split
from hmdc_ray.system.transfer import to_device

RESIDENT_PART = 0.25
"""Part of a device's free memory that the pixels of the training split may take; where they take
more, every batch is copied."""

_READ = 1024
"""Images copied at a time while the training split moves to the device, which bounds the pinned
memory."""


class Reader:
    """Reads images for one process.

    Args:
        dataset: the decoded data.
        device: device of the images.
        dtype: number format of the images.

    Attributes:
        dataset: the decoded data.
        device: device of the images.
        dtype: number format of the images.
        pixels_NCHW: pixels of the training split on the device, uint8; None on the CPU, and where
            they are more than :data:`RESIDENT_PART` of what is free.
    """

    def __init__(self, dataset: ImageDataset, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.dataset = dataset
        self.device = device
        self.dtype = dtype
        self.pixels_NCHW: Tensor | None = None
        if device.type == "cpu":
            return
        self._statistics = to_device(dataset.statistics(dtype), device)
        free, _ = torch.get_device_module(device).mem_get_info(device)
        if dataset.info.sizes["train"] * dataset.info.shape.values <= RESIDENT_PART * free:
            self.pixels_NCHW = self._all_pixels()

    def __call__(self, rows: Rows, split: Split = "train", rows_B: Tensor | None = None) -> Tensor:
        """Images by row of a split, (B, C, H, W).

        Args:
            rows: the rows.
            split: the split.
            rows_B: the same rows on the device, where they are there already.
        """
        if self.device.type == "cpu":
            return self.dataset.normalised(split, rows, self.dtype)
        if self.pixels_NCHW is None or split != "train":
            (pixels_BCHW,) = to_device([self.dataset.pixels(split, rows)], self.device)
        else:
            if rows_B is None:
                (rows_B,) = to_device([torch.tensor(rows)], self.device)
            pixels_BCHW = self.pixels_NCHW[rows_B]
        return normalise(pixels_BCHW, *self._statistics)

    def _all_pixels(self) -> Tensor:
        info = self.dataset.info
        rows = torch.arange(info.sizes["train"])
        size = len(rows), info.shape.channels, info.shape.height, info.shape.width
        pixels_NCHW = torch.empty(size, dtype=torch.uint8, device=self.device)
        for some in rows.split(_READ):
            (part_NCHW,) = to_device([self.dataset.pixels("train", some)], self.device)
            pixels_NCHW[some[0] : some[-1] + 1] = part_NCHW
        return pixels_NCHW
