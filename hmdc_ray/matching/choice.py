"""Choice of a class' real images: a random draw, or those nearest to k-means centroids (DREAM, Liu
et al., ICCV 2023).

Shapes: N images, K clusters, D numbers of an embedding.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hmdc_ray.seeding import Key

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

TIE = 1e-6
"""Relative difference below which two distances count as equal."""

ROUNDING = 1e-5
"""Rounding of sums in float32, relative to the largest entry."""


def random_choice(size: int, count: int, key: Key) -> NDArray[np.int64]:
    """Positions, int64 (count,), of ``size`` without replacement, in drawn order; all of them if
    there are fewer."""
    return key.numpy().permutation(size)[:count].astype(np.int64)


def finite(embeddings_ND: NDArray[np.floating]) -> NDArray[np.floating]:
    """Embeddings with 0 for what is not finite.

    A network that diverged has such embeddings. Its bad gradients are counted and it is renewed;
    until then any images will do.
    """
    found_ND: NDArray[np.floating] = np.nan_to_num(embeddings_ND, nan=0.0, posinf=0.0, neginf=0.0)
    return found_ND


def kmeans_choice(embeddings_ND: NDArray[np.floating], count: int, key: Key, iterations: int) -> NDArray[np.int64]:
    """Positions of the images nearest to k-means centroids, none twice.

    Of images that are equally near, to :data:`TIE` of the distance, the first is taken: the two
    images of a cluster of two always are, and rounding, which differs between processors, must not
    choose between them.

    Args:
        embeddings_ND: embeddings, one row per image, finite.
        count: number of clusters, K; with as many images or fewer, all positions are returned.
        key: key of the draws of k-means++.
        iterations: most Lloyd iterations.

    Returns:
        Positions, int64 (min(K, N),), one per centroid in the order of the centroids.
    """
    size = len(embeddings_ND)
    if size <= count:
        return np.arange(size, dtype=np.int64)
    # Here, because scikit-learn takes two seconds to import, which every worker would pay at its
    # start.
    from sklearn.cluster import KMeans, kmeans_plusplus
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    seed, exact_ND = key.number() % 2**32, embeddings_ND.astype(np.float64)
    # One thread: sums over several threads come in any order. Equal images give fewer distinct
    # clusters, which is fine.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # scikit-learn's k-means++ takes distances in float64 whatever it is given: given float32,
        # it converts all rows anew for every centroid. Lloyd's iterations are faster in float32.
        # One trial for each centroid, as k-means++ was published: several take as long as the
        # iterations and end in the same sum of squares to half a percent.
        centroids_KD, _ = kmeans_plusplus(exact_ND, count, random_state=seed, n_local_trials=1)
        kmeans = KMeans(count, init=centroids_KD.astype(embeddings_ND.dtype), n_init=1, max_iter=iterations, random_state=seed)
        kmeans.fit(embeddings_ND)
        return _nearest(exact_ND, _exact_centroids(exact_ND, kmeans))


def _exact_centroids(exact_ND: NDArray[np.float64], kmeans: KMeans) -> NDArray[np.float64]:
    """The centroids (K, D), each the mean of its cluster, without the rounding of float32 that
    k-means may have used.

    One whose cluster changed after it was computed, because the iterations ended, stays as it is.
    """
    centroids_KD: NDArray[np.float64] = kmeans.cluster_centers_.astype(np.float64)
    for cluster, centroid_D in enumerate(centroids_KD):
        own_nD = exact_ND[kmeans.labels_ == cluster]
        if len(own_nD):
            mean_D = own_nD.mean(axis=0)
            if np.abs(mean_D - centroid_D).max() <= ROUNDING * np.abs(own_nD).max():
                centroids_KD[cluster] = mean_D
    return centroids_KD


def _nearest(rows_ND: NDArray[np.float64], centroids_KD: NDArray[np.float64]) -> NDArray[np.int64]:
    """The row nearest to each centroid, of equally near ones the first; none twice. Positions,
    int64 (K,)."""
    middle_D = rows_ND.mean(axis=0)
    rows_ND, centroids_KD = rows_ND - middle_D, centroids_KD - middle_D
    squares_N = np.einsum("nd,nd->n", rows_ND, rows_ND)
    slack = ROUNDING**2 * squares_N.max(initial=0.0)
    chosen = np.empty(len(centroids_KD), dtype=np.int64)
    for cluster, (centroid_D, products_N) in enumerate(zip(centroids_KD, centroids_KD @ rows_ND.T, strict=True)):
        far_N = squares_N - 2 * products_N + centroid_D @ centroid_D  # |r - c|^2 = |r|^2 - 2 <r, c> + |c|^2
        far_N[chosen[:cluster]] = np.inf
        # The product form is quick but loses digits where rows are alike: it only names the few
        # that may be nearest.
        near = np.flatnonzero(far_N <= (1 + 4 * TIE) * far_N.min() + slack)
        distances = np.linalg.norm(rows_ND[near] - centroid_D, axis=1)
        chosen[cluster] = near[(distances <= (1 + TIE) * distances.min()).argmax()]
    return chosen
