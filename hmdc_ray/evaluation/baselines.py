"""Real images that condensed ones are compared with: as many of each class as are stored, or as are
decoded from these."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.evaluation.device import torch_threads
from hmdc_ray.matching.choice import kmeans_choice, random_choice
from hmdc_ray.models.network import Network
from hmdc_ray.models.registry import build
from hmdc_ray.models.shape import ImageShape
from hmdc_ray.seeding import Key

Baseline = Literal["random", "kmeans"]
KINDS: tuple[Baseline, ...] = get_args(Baseline)
CONVNET_DEPTH = 3
CONVNET_WIDTH = 32
KMEANS_ITERATIONS = 20
EMBEDDING_BATCH = 512


def baseline_rows(
    kind: Baseline, seed_index: int, condensed: CondensedSet, dataset: ImageDataset, run_seed: int, *, per_stored: int = 1
) -> np.ndarray:
    """Choose real images of the training split, fresh for every seed, the same for every student.

    With one real image per stored one the comparison is fair in storage, where packed images count
    once; with formation squared it is fair in the count of training images. A class with fewer
    images gives all it has.

    Args:
        kind: ``random``, without replacement, or ``kmeans``, nearest to the class's k-means
            centroids (as in DREAM, Liu et al., ICCV 2023) in the embedding of a freshly initialised
            ConvNet.
        seed_index: number of the draw, from 0.
        condensed: set to compare with, which gives class counts and normalisation.
        dataset: real data of the same classes and shape.
        run_seed: the run's seed.
        per_stored: number of real images per stored one, at least 1.

    Returns:
        Rows of the training split, int64 (N,), class by class, none twice.
    """
    key = Key(run_seed, "baseline", member=KINDS.index(kind), iteration=seed_index)
    network = _embedding_network(dataset.info.shape, len(condensed.class_names), key) if kind == "kmeans" else None
    chosen = []
    for label, count in enumerate((condensed.class_counts() * per_stored).tolist()):
        rows, class_key = dataset.class_rows("train", label), replace(key, label=label, step=1)
        if network is None or count == 0:
            positions = random_choice(len(rows), count, class_key)
        else:
            positions = kmeans_choice(_embeddings(network, rows, condensed, dataset), count, class_key, KMEANS_ITERATIONS)
        chosen.append(rows[positions])
    return np.concatenate(chosen)


def _embedding_network(shape: ImageShape, classes: int, key: Key) -> Network:
    """A ConvNet of depth 3, or less where halvings would leave a tiny image fewer than 2 pixels.

    Its width is a quarter of the protocol's, because the whole training split passes through it.
    """
    depth = min(CONVNET_DEPTH, max(1, min(shape.height, shape.width).bit_length() - 2))
    return build("convnet", {"depth": depth, "width": CONVNET_WIDTH}, shape, classes, key).eval()


@torch.inference_mode()
def _embeddings(network: Network, rows: np.ndarray, condensed: CondensedSet, dataset: ImageDataset) -> np.ndarray:
    """Embeddings (N, D) of rows (N,) of the training split."""
    batches = np.array_split(rows, -(-len(rows) // EMBEDDING_BATCH))
    with torch_threads(1):  # the same bits, and so the same images, in every process
        embeddings = [network.observe(condensed.normalise(dataset.pixels("train", batch))).embedding_BD for batch in batches]
    return torch.cat(embeddings).numpy()
