"""Which real images of a class are used: a random draw, or those nearest to k-means centroids (DREAM, Liu, ICCV 2023)."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from hmdc_ray.seeding import Key


def random_choice(size: int, count: int, key: Key) -> NDArray[np.int64]:
    """``count`` positions of ``size`` without replacement, or all of them, in drawn order, if there are fewer."""
    return key.numpy().permutation(size)[:count].astype(np.int64)


def kmeans_choice(embeddings_ND: NDArray[np.floating], count: int, key: Key, iterations: int) -> NDArray[np.int64]:
    """Positions of the images nearest to k-means centroids, none twice.

    Args:
        embeddings_ND: one row per image, finite.
        count: number of clusters; with as many images or fewer, all positions are returned.
        key: seeds k-means++.
        iterations: most Lloyd iterations.

    Returns:
        ``min(count, N)`` positions, one per centroid in the order of the centroids.
    """
    size = len(embeddings_ND)
    if size <= count:
        return np.arange(size, dtype=np.int64)
    # Here, because scikit-learn takes two seconds to import, which every worker would pay at its start.
    from sklearn.cluster import KMeans, kmeans_plusplus
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    seed = key.number() % 2**32
    # One thread: sums over several threads come in any order. Equal images give fewer distinct clusters, which is fine.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # scikit-learn's k-means++ takes distances in float64 whatever it is given: given float32, it converts all rows anew for
        # every centroid. Lloyd's iterations are faster in float32. One trial for each centroid, as k-means++ was published:
        # several take as long as the iterations and end in the same sum of squares to half a percent.
        centroids_KD, _ = kmeans_plusplus(embeddings_ND.astype(np.float64), count, random_state=seed, n_local_trials=1)
        kmeans = KMeans(count, init=centroids_KD.astype(embeddings_ND.dtype), n_init=1, max_iter=iterations, random_state=seed)
        kmeans.fit(embeddings_ND)
        distances_KN = kmeans.transform(embeddings_ND).T.copy()
    chosen = np.empty(count, dtype=np.int64)
    for cluster, distances_N in enumerate(distances_KN):
        distances_N[chosen[:cluster]] = np.inf
        chosen[cluster] = int(distances_N.argmin())
    return chosen
