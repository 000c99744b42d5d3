"""The choice of :func:`hmdc_ray.matching.choice.kmeans_choice` on a device, where embeddings stay.

The same algorithm, from the same draws: k-means++ with one trial a centroid, Lloyd's iterations
with scikit-learn's rules for when they end and for empty clusters, and of equally near images the
first. All of it is computed in float64, so that on float64 embeddings the choice is the CPU's; of
float32 embeddings, which the CPU's iterations take as they are, it differs where rounding decides.
The device is never looked at: once they have ended, further iterations change nothing.

Shapes: N images, K clusters, D numbers of an embedding.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hmdc_ray.matching.choice import ROUNDING, TIE
from hmdc_ray.seeding import Key

EMBEDDING_BYTES = 48
"""Bytes that the choice takes for each number of the embeddings: blocks of them in float32 and all
of them; in float64 all of them twice, and what is computed from them."""

_TOLERANCE = 1e-4
"""Lloyd's iterations end when centroids move by less than this part of the variance, in squares
(scikit-learn's default)."""


def kmeans_choice_on_device(embeddings_ND: Tensor, count: int, key: Key, iterations: int) -> Tensor:
    """Positions of the images nearest to k-means centroids, none twice.

    Args:
        embeddings_ND: embeddings, one row per image; 0 is taken for what is not finite.
        count: number of clusters, K; with as many images or fewer, all positions are returned.
        key: key of the draws of k-means++.
        iterations: most Lloyd iterations.

    Returns:
        Positions, int64 (min(K, N),), on the device, one per centroid in the order of the
        centroids.
    """
    size = len(embeddings_ND)
    if size <= count:
        return torch.arange(size, device=embeddings_ND.device)
    rows_ND = embeddings_ND.double().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    middle_D = rows_ND.mean(dim=0)
    largest_N, rows_ND = rows_ND.abs().amax(dim=1), rows_ND - middle_D
    centroids_KD, clusters_N = _lloyd(rows_ND, _first_centroids(rows_ND, count, key), iterations)
    return _nearest(rows_ND, _exact_centroids(rows_ND, largest_N, centroids_KD, clusters_N))


def _first_centroids(rows_ND: Tensor, count: int, key: Key) -> Tensor:
    """Centroids (K, D) by k-means++: each a row, drawn in proportion to its squared distance to
    those before it."""
    size = len(rows_ND)
    state = np.random.RandomState(key.number() % 2**32)  # scikit-learn's, so that the draws are the same
    squares_N = rows_ND.square().sum(dim=1)
    first = int(state.choice(size, p=np.full(size, 1 / size)))
    centroids = [rows_ND[first : first + 1]]
    nearest_N = torch.full_like(squares_N, torch.inf)
    for uniform in state.random_sample(count - 1).tolist():
        last_1D = centroids[-1]
        distances_N = (squares_N - 2 * (rows_ND @ last_1D[0]) + last_1D.square().sum()).clamp(min=0)
        nearest_N = torch.minimum(nearest_N, distances_N)
        drawn_1 = torch.searchsorted(nearest_N.cumsum(dim=0), (uniform * nearest_N.sum())[None])
        centroids.append(rows_ND.index_select(0, drawn_1.clamp(max=size - 1)))
    return torch.cat(centroids)


def _lloyd(rows_ND: Tensor, centroids_KD: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Centroids (K, D) after Lloyd's iterations, and the cluster of each row, (N,)."""
    least = _TOLERANCE * rows_ND.var(dim=0, correction=0).mean()
    clusters_N = torch.full_like(rows_ND[:, 0], -1, dtype=torch.int64)
    ended = torch.zeros_like(least, dtype=torch.bool)
    for _ in range(iterations):
        found_N = _clusters(rows_ND, centroids_KD)
        moved_KD = _means(rows_ND, centroids_KD, found_N)
        shift = (moved_KD - centroids_KD).square().sum()
        centroids_KD = torch.where(ended, centroids_KD, moved_KD)
        ended = ended | (found_N == clusters_N).all() | (shift <= least)
        clusters_N = found_N
    return centroids_KD, _clusters(rows_ND, centroids_KD)


def _clusters(rows_ND: Tensor, centroids_KD: Tensor) -> Tensor:
    """The nearest centroid of every row, (N,)."""
    return (centroids_KD.square().sum(dim=1) - 2 * rows_ND @ centroids_KD.T).argmin(dim=1)


def _members(clusters_N: Tensor, count: int) -> Tensor:
    """Whether a row belongs to a cluster, (K, N)."""
    return torch.arange(count, device=clusters_N.device)[:, None] == clusters_N


def _means(rows_ND: Tensor, centroids_KD: Tensor, clusters_N: Tensor) -> Tensor:
    """The mean of every cluster, (K, D).

    The first empty cluster gets the row that is farthest from its centroid, which leaves its own
    cluster, the second one the next, and so on.
    """
    members_KN = _members(clusters_N, len(centroids_KD))
    empty_K = ~members_KN.any(dim=1)
    distances_N = (rows_ND - centroids_KD[clusters_N]).square().sum(dim=1)
    farthest_K = distances_N.topk(len(centroids_KD)).indices[(empty_K.cumsum(0) - 1).clamp(min=0)]
    positions_N = torch.arange(len(rows_ND), device=rows_ND.device)
    given_KN = (farthest_K[:, None] == positions_N) & empty_K[:, None] & (distances_N.max() > 0)
    members_KN = torch.where(given_KN.any(dim=0), given_KN, members_KN)
    counts_K = members_KN.sum(dim=1)
    # A product and no sum by index, whose order is another one each time on a GPU.
    means_KD = (members_KN.to(rows_ND) @ rows_ND) / counts_K.clamp(min=1)[:, None]
    return torch.where(counts_K[:, None] > 0, means_KD, means_KD.index_select(0, counts_K.argmax()[None]))


def _exact_centroids(rows_ND: Tensor, largest_N: Tensor, centroids_KD: Tensor, clusters_N: Tensor) -> Tensor:
    """The centroids (K, D), each the mean of its cluster but for one whose cluster changed after it
    was computed."""
    members_KN = _members(clusters_N, len(centroids_KD))
    counts_K = members_KN.sum(dim=1)
    means_KD = (members_KN.to(rows_ND) @ rows_ND) / counts_K.clamp(min=1)[:, None]
    limit_K = ROUNDING * torch.where(members_KN, largest_N, 0.0).amax(dim=1)
    close_K = ((means_KD - centroids_KD).abs().amax(dim=1) <= limit_K) & (counts_K > 0)
    return torch.where(close_K[:, None], means_KD, centroids_KD)


def _nearest(rows_ND: Tensor, centroids_KD: Tensor) -> Tensor:
    """The row nearest to each centroid, of equally near ones the first; none twice. Positions,
    int64 (K,)."""
    positions_N = torch.arange(len(rows_ND), device=rows_ND.device)
    taken_N = torch.zeros_like(positions_N, dtype=torch.bool)
    chosen = []
    for centroid_D in centroids_KD:
        distances_N = torch.linalg.vector_norm(rows_ND - centroid_D, dim=1).masked_fill(taken_N, torch.inf)
        near_N = distances_N <= (1 + TIE) * distances_N.min()
        chosen.append(near_N.int().argmax())  # of equal values the first
        taken_N = taken_N | (positions_N == chosen[-1])
    return torch.stack(chosen)
