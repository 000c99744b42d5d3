"""The images of a trial: to train on, condensed or real, and to test on; all normalised with the
condensed set's statistics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.schema import Split
from hmdc_ray.evaluation.baselines import Baseline, baseline_rows

Kind = Literal["condensed", "random", "kmeans", "random_count", "kmeans_count", "whole_data"]
"""The images that a student is trained on: condensed; real, as many as are stored; real, as many as
are decoded from the stored ones (``_count``); the whole training split."""

KINDS: tuple[Kind, ...] = get_args(Kind)
BASELINES: dict[Kind, Baseline] = {"random": "random", "kmeans": "kmeans", "random_count": "random", "kmeans_count": "kmeans"}
"""The choice of real images of each kind."""

TEST_BATCH = 512


class WholeSplit:
    """The training split as normalised images (N, C, H, W) made batch by batch, so that it is never
    whole in memory."""

    def __init__(self, dataset: ImageDataset, condensed: CondensedSet, device: str) -> None:
        self._dataset = dataset
        self._condensed = condensed
        self._device = device

    def __len__(self) -> int:
        return len(self._dataset.labels("train"))

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Images (B, C, H, W) of ``rows``, int64 (B,), of the split."""
        return self._condensed.normalise(self._dataset.pixels("train", rows.cpu().numpy()).to(self._device))


def per_stored(kind: Kind, condensed: CondensedSet) -> int:
    """Number of a baseline's real images per stored one."""
    return condensed.formation**2 if kind in ("random_count", "kmeans_count") else 1


def chosen_rows(kind: Kind, seed_index: int, condensed: CondensedSet, dataset: ImageDataset, run_seed: int) -> np.ndarray:
    """Rows of the training split for a baseline, int64 (N,); see
    :func:`hmdc_ray.evaluation.baselines.baseline_rows`."""
    count = per_stored(kind, condensed)
    return baseline_rows(BASELINES[kind], seed_index, condensed, dataset, run_seed, per_stored=count)


def training_images(
    kind: Kind,
    seed_index: int,
    condensed: CondensedSet,
    dataset: ImageDataset,
    run_seed: int,
    *,
    rows: np.ndarray | None,
    device: str,
) -> tuple[Tensor | WholeSplit, Tensor]:
    """Images (N, C, H, W) and labels, int64 (N,), on the device; ``rows`` (N,) of a baseline if
    already chosen."""
    if kind == "condensed":
        images_NCHW, labels_N = condensed.decoded()
        return images_NCHW.to(device), labels_N.to(device)
    labels = dataset.labels("train")
    if kind == "whole_data":
        return WholeSplit(dataset, condensed, device), torch.tensor(labels, device=device)
    if rows is None:
        rows = chosen_rows(kind, seed_index, condensed, dataset, run_seed)
    return condensed.normalise(dataset.pixels("train", rows)).to(device), torch.from_numpy(labels[rows]).to(device)


def split_batches(
    dataset: ImageDataset, split: Split, device: str | torch.device, condensed: CondensedSet | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images (B, C, H, W) and labels (B,) of a split, batch by batch, on the device; normalised
    with the statistics of a condensed set, or without one with the data's own."""
    labels_N = torch.tensor(dataset.labels(split))
    for rows in torch.arange(len(labels_N)).split(TEST_BATCH):
        if condensed is None:
            images_BCHW = dataset.normalised(split, rows).to(device)
        else:
            images_BCHW = condensed.normalise(dataset.pixels(split, rows).to(device))
        yield images_BCHW, labels_N[rows].to(device)
