"""The labelled images that a run learns from: read-only, shared in memory by all processes on a
node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from hmdc_ray.config import DataConfig
from hmdc_ray.data.arrow_file import DecodedFile, Progress
from hmdc_ray.data.cache import cache_path, open_or_decode
from hmdc_ray.data.digits import NAME as DIGITS
from hmdc_ray.data.digits import read_digits
from hmdc_ray.data.files import find_files
from hmdc_ray.data.known import with_statistics
from hmdc_ray.data.parquet import read_parquet
from hmdc_ray.data.schema import SPLITS, Labels, Split

Rows = npt.NDArray[np.int64]


def open_dataset(
    config: DataConfig, progress: Progress | None = None, check: Callable[[], None] = lambda: None
) -> ImageDataset:
    """Open a data set in this process; the first process on the node decodes it for all.

    Args:
        config: the data section of a run.
        progress: callback that gets (images done, images in all) while this process decodes; not
            called if nothing is decoded.
        check: callback run several times a second while another process decodes; may raise to stop
            waiting.

    Raises:
        InputError: anything wrong with the source, its images and labels, or the cache folder.
    """
    files = () if config.source == DIGITS else find_files(config.source)
    decoded = open_or_decode(
        cache_path(config, files),
        lambda: read_parquet(files, config) if files else read_digits(config),
        progress,
        check,
    )
    info = replace(decoded.info, source=config.source)  # the same files may be named in another way than when they were decoded
    return ImageDataset(replace(decoded, info=with_statistics(info, config.statistics)))


class ImageDataset:
    """Images of a data set by split and row. Holds a memory map: open it in each process, do not
    pickle it.

    Args:
        decoded: the decoded file.

    Attributes:
        info: facts about the data set.
    """

    def __init__(self, decoded: DecodedFile) -> None:
        self.info = decoded.info
        self._batches = decoded.batches
        self._batch_rows = len(decoded.batches[0])
        self._file_rows: dict[Split, Rows] = {}
        self._labels: dict[Split, Labels] = {}
        self._class_rows: dict[Split, list[Rows]] = {}
        for code, split in enumerate(SPLITS):
            rows = np.flatnonzero(decoded.splits == code)
            labels = decoded.labels[rows]
            labels.flags.writeable = False
            ends = np.cumsum(np.bincount(labels, minlength=len(self.info.class_names)))
            by_class = np.argsort(labels, kind="stable")
            by_class.flags.writeable = False
            self._file_rows[split], self._labels[split] = rows, labels
            self._class_rows[split] = np.split(by_class, ends[:-1])
        self._mean_C11 = torch.tensor(self.info.mean, dtype=torch.float64).view(-1, 1, 1)
        self._std_C11 = torch.tensor(self.info.std, dtype=torch.float64).view(-1, 1, 1)

    def labels(self, split: Split) -> Labels:
        """(n,) class index of each image of the split; read-only."""
        return self._labels[split]

    def class_rows(self, split: Split, label: int) -> Rows:
        """Rows of the split, ascending, whose images are of class ``label``; read-only, empty where
        there are none."""
        return self._class_rows[split][label]

    def pixels(self, split: Split, rows: npt.ArrayLike) -> torch.Tensor:
        """Copies of the images in ``rows`` of the split, in that order: (len(rows), C, H, W),
        uint8."""
        file_rows = self._file_rows[split][np.asarray(rows, dtype=np.int64)].tolist()
        shape = self.info.shape
        pixels_NCHW = np.empty((len(file_rows), shape.channels, shape.height, shape.width), np.uint8)
        for position, row in enumerate(file_rows):
            pixels_NCHW[position] = self._batches[row // self._batch_rows][row % self._batch_rows]
        return torch.from_numpy(pixels_NCHW)

    def normalised(self, split: Split, rows: npt.ArrayLike, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """The images in ``rows`` as (pixels / 255 - mean) / std: (len(rows), C, H, W), computed in
        ``dtype``."""
        return normalise(self.pixels(split, rows), *self.statistics(dtype))

    def statistics(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and std of every channel, (C, 1, 1) each, in ``dtype``."""
        return self._mean_C11.to(dtype), self._std_C11.to(dtype)


def normalise(pixels_NCHW: torch.Tensor, mean_C11: torch.Tensor, std_C11: torch.Tensor) -> torch.Tensor:
    """(pixels / 255 - mean) / std, (N, C, H, W), of uint8 pixels, in the format of the
    statistics."""
    return pixels_NCHW.to(mean_C11.dtype).div_(255).sub_(mean_C11).div_(std_C11)
