"""The batches of a training: the same for any number of workers, each of which takes its part.

Shapes: B images in the global batch, b of them in a worker's part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hmdc_ray.data.cutmix import Mixed, cutmix
from hmdc_ray.data.cutting import batch_slices
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.reader import Reader
from hmdc_ray.evaluation.augmentation import variation
from hmdc_ray.evaluation.protocol import Recipe
from hmdc_ray.seeding import Key
from hmdc_ray.system.transfer import to_device


@dataclass(frozen=True, slots=True)
class Group:
    """The workers that train together.

    Attributes:
        worker: number of this worker, from 0.
        workers: number of workers, at least 1.
    """

    worker: int = 0
    workers: int = 1


@dataclass(frozen=True)
class Part:
    """A worker's share of a global batch.

    Attributes:
        mixed: normalised images (b, C, H, W) with their labels; b is at least 2 where the global
            batch has two images.
        weight: factor on the part's mean loss that makes the mean over workers the mean over the
            global batch: workers b / B; 0 for a worker without a share, which computes up to two
            images all the same.
    """

    mixed: Mixed
    weight: float

    def loss(self, logits_bK: Tensor) -> Tensor:
        """Weighted cross-entropy, a scalar; its mean over the workers is the global batch's
        mean."""
        mixed = self.mixed
        plain = mixed.own_part == 1.0
        return self.weight * (F.cross_entropy(logits_bK, mixed.labels) if plain else mixed.loss(logits_bK))


def _own(images: int, group: Group) -> Tensor:
    """A worker's positions in a global batch, int64 (b,). Fewer workers share a small batch: no
    part is one image."""
    parts = np.array_split(np.arange(images), min(group.workers, max(1, images // 2)))
    return torch.from_numpy(parts[group.worker]) if group.worker < len(parts) else torch.empty(0, dtype=torch.int64)


class GlobalBatches:
    """Batches of the training split, in an order that is drawn anew for every epoch.

    Order, variation and mixing of a batch are drawn from the key, the epoch and the batch's number
    alone, so that a training can be resumed anywhere, with any number of workers.

    Args:
        dataset: data whose training split is used, normalised with its own mean and std.
        recipe: recipe that gives size, variation and mixing of batches.
        key: identity of the network.
        device: device of the batches.
    """

    def __init__(self, dataset: ImageDataset, recipe: Recipe, key: Key, device: torch.device) -> None:
        self._reader = Reader(dataset, device)
        self._recipe = recipe
        self._key = key
        self._device = device
        self._labels = torch.tensor(dataset.labels("train"))
        self._places = batch_slices(len(self._labels), recipe.batch)
        self._order: tuple[int, Tensor] = -1, torch.empty(0)

    def __len__(self) -> int:
        """Number of batches in an epoch; the last one may be smaller, or larger by one image."""
        return len(self._places)

    def part(self, epoch: int, batch: int, group: Group) -> Part:
        """This worker's part of a batch, on the device."""
        rows_B = self._rows(epoch)[self._places[batch]]
        mine = _own(len(rows_B), group)
        weight = group.workers * len(mine) / len(rows_B)
        if not len(mine):
            mine = torch.arange(min(2, len(rows_B)))
        if self._recipe.variation == "none" and not self._recipe.cutmix:
            images, labels = self._load(rows_B[mine])
            return Part(Mixed(images, labels, labels, 1.0), weight)
        # Variation and mixing depend on the other images of a batch, so every worker makes the
        # whole batch.
        images_BCHW, labels_B = self._load(rows_B)
        draws = replace(self._key, stream="train_augmentation", step=epoch, batch=batch)
        vary = variation(self._recipe, draws.generator())
        mixed = Mixed(images_BCHW if vary is None else vary(images_BCHW), labels_B, labels_B, 1.0)
        if self._recipe.cutmix:
            mixed = cutmix(mixed.images, labels_B, replace(draws, stream="cutmix"))
        mine = mine.to(self._device)
        return Part(Mixed(mixed.images[mine], mixed.labels[mine], mixed.pasted_labels[mine], mixed.own_part), weight)

    def _rows(self, epoch: int) -> Tensor:
        """Rows of the training split in the order of an epoch, int64 (N,)."""
        if self._order[0] != epoch:
            generator = replace(self._key, stream="train_images", step=epoch).generator()
            self._order = epoch, torch.randperm(len(self._labels), generator=generator)
        return self._order[1]

    def _load(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images (b, C, H, W) and labels (b,) of rows (b,), on the device."""
        rows_b, labels_b = to_device([rows, self._labels[rows]], self._device)
        return self._reader(rows.numpy(), rows_B=rows_b), labels_b
