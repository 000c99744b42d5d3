from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.pretend_device import pretend_device
from hmdc_ray.matching.choice import finite, kmeans_choice
from hmdc_ray.matching.device_choice import EMBEDDING_BYTES, kmeans_choice_on_device
from hmdc_ray.matching.footprint import LiveBytes
from hmdc_ray.seeding import Key
from hmdc_ray.system.transfer import to_device, to_host


def chosen(embeddings_ND: NDArray[np.floating], count: int, key: Key, iterations: int) -> list[int]:
    return kmeans_choice_on_device(torch.from_numpy(embeddings_ND), count, key, iterations).tolist()


def noise(size: int, dimensions: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((size, dimensions)) + 3


@pytest.mark.parametrize("iterations", [1, 3, 10, 100])
@pytest.mark.parametrize(("size", "dimensions", "count"), [(300, 2, 12), (200, 40, 20), (45, 4, 44), (60, 3, 1)])
def test_the_choice_is_that_of_the_cpu(size: int, dimensions: int, count: int, iterations: int) -> None:
    for seed in range(4):
        key, embeddings_ND = Key(seed, "kmeans"), noise(size, dimensions, seed)
        expected = kmeans_choice(embeddings_ND, count, key, iterations)
        assert chosen(embeddings_ND, count, key, iterations) == expected.tolist()


def test_empty_clusters_are_filled_as_on_the_cpu() -> None:
    """Equal images, which k-means++ may draw twice: one of the clusters is empty then."""
    for seed in range(8):
        few_ND = noise(6, 3, seed)
        embeddings_ND, key = np.concatenate([np.repeat(few_ND, 4, axis=0), few_ND + 0.01]), Key(seed, "kmeans")
        found = chosen(embeddings_ND, 10, key, 20)
        assert found == kmeans_choice(embeddings_ND, 10, key, 20).tolist() and len(set(found)) == 10


def test_of_equally_near_images_the_first_is_chosen() -> None:
    rows_ND = np.repeat(noise(3, 5), [4, 3, 5], axis=0)
    assert sorted(chosen(rows_ND, 3, Key(0, "kmeans"), 5)) == [0, 4, 7]
    pairs_ND = np.concatenate([50 * np.eye(8) + 1, 50 * np.eye(8) - 1])
    assert sorted(chosen(pairs_ND, 8, Key(0, "kmeans"), 20)) == list(range(8))


@pytest.mark.parametrize("count", [5, 6])
def test_as_few_images_as_clusters_are_all_chosen(count: int) -> None:
    assert chosen(np.zeros((5, 2)), count, Key(0, "kmeans"), 5) == [0, 1, 2, 3, 4]


def test_embeddings_that_are_not_finite_count_as_zero() -> None:
    embeddings_ND, key = noise(40, 6), Key(0, "kmeans")
    embeddings_ND[[3, 17, 25], [0, 2, 5]] = np.nan, np.inf, -np.inf
    assert chosen(embeddings_ND, 8, key, 10) == kmeans_choice(finite(embeddings_ND), 8, key, 10).tolist()
    assert len(set(chosen(np.full((9, 3), np.nan), 4, key, 10))) == 4


def test_the_device_is_never_looked_at() -> None:
    embeddings_ND, key = noise(200, 8), Key(2, "kmeans")
    with pretend_device() as (device, waits):
        (there_ND,) = to_device([torch.from_numpy(embeddings_ND)], device)
        waits.counts.clear()
        positions_K = kmeans_choice_on_device(there_ND, 16, key, 20)
        assert not waits.counts
        assert to_host([positions_K])[0].tolist() == kmeans_choice(embeddings_ND, 16, key, 20).tolist()


def test_it_takes_as_much_memory_as_it_says() -> None:
    embeddings_ND = torch.from_numpy(noise(500, 64)).float()
    with LiveBytes([embeddings_ND]) as counted:
        kmeans_choice_on_device(embeddings_ND, 8, Key(0, "kmeans"), 5)
    beside = 2 * embeddings_ND.nbytes  # the embeddings, which were blocks before
    assert 0.6 * EMBEDDING_BYTES < (max(counted.after) + beside) / embeddings_ND.numel() <= EMBEDDING_BYTES
