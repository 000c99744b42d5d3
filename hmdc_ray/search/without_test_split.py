"""Real images without the test split: all that a trial may see."""

from __future__ import annotations

import numpy.typing as npt
import torch

from hmdc_ray.data.dataset import ImageDataset, Rows
from hmdc_ray.data.schema import Labels, Split


class WithoutTest(ImageDataset):
    """A data set whose test split cannot be read, so that nothing can be chosen by it.

    Args:
        dataset: the whole data set.
    """

    def __init__(self, dataset: ImageDataset) -> None:
        self.info = dataset.info
        self._dataset = dataset

    def labels(self, split: Split) -> Labels:
        """See :meth:`ImageDataset.labels`.

        Raises:
            PermissionError: the split is the test split.
        """
        return self._dataset.labels(_allowed(split))

    def class_rows(self, split: Split, label: int) -> Rows:
        """See :meth:`ImageDataset.class_rows`.

        Raises:
            PermissionError: the split is the test split.
        """
        return self._dataset.class_rows(_allowed(split), label)

    def pixels(self, split: Split, rows: npt.ArrayLike) -> torch.Tensor:
        """See :meth:`ImageDataset.pixels`.

        Raises:
            PermissionError: the split is the test split.
        """
        return self._dataset.pixels(_allowed(split), rows)

    def normalised(self, split: Split, rows: npt.ArrayLike, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """See :meth:`ImageDataset.normalised`.

        Raises:
            PermissionError: the split is the test split.
        """
        return self._dataset.normalised(_allowed(split), rows, dtype)


def _allowed(split: Split) -> Split:
    if split == "test":
        raise PermissionError("the test split cannot be read in a trial: a search chooses on validation data alone")
    return split
