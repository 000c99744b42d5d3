from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hmdc_ray.matching.choice import kmeans_choice, random_choice
from hmdc_ray.seeding import Key

KEY = Key(0, "kmeans")


def clusters(centres: int, each: int, spread: float = 0.01) -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    points = 10 * np.eye(centres)[np.repeat(np.arange(centres), each)]
    return (points + spread * generator.standard_normal(points.shape)).astype(np.float32)


def test_random_choice_is_distinct_keyed_and_at_most_all() -> None:
    chosen = random_choice(50, 20, KEY)
    assert len(set(chosen.tolist())) == 20 and chosen.min() >= 0 and chosen.max() < 50
    assert np.array_equal(chosen, random_choice(50, 20, KEY))
    assert not np.array_equal(chosen, random_choice(50, 20, Key(1, "kmeans")))
    assert sorted(random_choice(5, 20, KEY).tolist()) == [0, 1, 2, 3, 4]
    assert chosen.dtype == np.int64


def test_one_image_of_every_separated_cluster_is_chosen_and_it_is_the_nearest_to_the_mean() -> None:
    embeddings = clusters(centres=5, each=9)
    chosen = kmeans_choice(embeddings, 5, KEY, iterations=20)
    assert sorted((chosen // 9).tolist()) == [0, 1, 2, 3, 4]
    for position in chosen:
        own = embeddings[position // 9 * 9 : position // 9 * 9 + 9]
        distances = np.linalg.norm(own - own.mean(axis=0), axis=1)
        assert distances.argmin() == position % 9


@pytest.mark.parametrize("count", [1, 7, 44])
def test_no_image_twice_and_the_same_key_chooses_the_same(count: int) -> None:
    embeddings = np.random.default_rng(1).standard_normal((45, 4)).astype(np.float32)
    chosen = kmeans_choice(embeddings, count, KEY, iterations=5)
    assert len(set(chosen.tolist())) == len(chosen) == count
    with threadpool_limits(1):
        assert np.array_equal(chosen, kmeans_choice(embeddings.copy(), count, KEY, iterations=5))


def test_another_key_may_choose_others() -> None:
    embeddings = np.random.default_rng(1).standard_normal((60, 4))
    choices = {tuple(kmeans_choice(embeddings, 6, Key(0, "kmeans", step=step), 5).tolist()) for step in range(5)}
    assert len(choices) > 1


@pytest.mark.parametrize("count", [5, 6, 100])
def test_as_few_images_as_clusters_or_fewer_are_all_chosen(count: int) -> None:
    assert kmeans_choice(np.zeros((5, 2)), count, KEY, 5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.filterwarnings("error")
def test_identical_images_are_chosen_without_repetition_or_complaint() -> None:
    chosen = kmeans_choice(np.ones((10, 3), dtype=np.float32), 4, KEY, 5)
    assert len(set(chosen.tolist())) == 4
    half = np.repeat(np.eye(2), 5, axis=0)
    assert len(set(kmeans_choice(half, 6, KEY, 5).tolist())) == 6


def pairs(count: int, offset: float, scale: float) -> NDArray[np.float32]:
    """Rows 2 i and 2 i + 1 are a pair, far from all others; every entry is rounded."""
    generator = np.random.default_rng(2)
    centres_CD = 50 * np.eye(count) + offset
    apart_CD = scale * generator.standard_normal((count, count))
    return np.stack([centres_CD + apart_CD, centres_CD - apart_CD], axis=1).reshape(2 * count, count).astype(np.float32)


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (7.3, 0.01), (1000.1, 1.0)])
def test_of_a_cluster_of_two_the_first_is_chosen_whatever_rounding_says(offset: float, scale: float) -> None:
    embeddings = pairs(24, offset, scale)
    own = embeddings.reshape(24, 2, 24)
    mean = own.mean(axis=1, keepdims=True)
    # Of the distances, as float32 rounds them.
    squares = (own**2).sum(axis=2) - 2 * (own * mean).sum(axis=2) + (mean**2).sum(axis=2)
    assert (squares[:, 1] < squares[:, 0]).any() and (squares[:, 0] < squares[:, 1]).any()
    for dtype in (np.float32, np.float64):
        chosen = kmeans_choice(embeddings.astype(dtype), 24, KEY, iterations=20)
        assert sorted(chosen.tolist()) == list(range(0, 48, 2))
    reverse = kmeans_choice(embeddings[::-1].copy(), 24, KEY, iterations=20)
    assert sorted(reverse.tolist()) == list(range(0, 48, 2))


def test_of_four_corners_around_a_centroid_the_first_is_chosen_on_axes_that_round_otherwise() -> None:
    corners, middle = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]), np.array([20, 0])
    for angle in np.linspace(0.1, 1.5, 8):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        rows = np.concatenate([corners + middle, corners - middle]) @ turn + 3.7
        assert sorted(kmeans_choice(rows, 2, KEY, iterations=20).tolist()) == [0, 4]


def test_a_row_that_is_nearer_by_more_than_the_tolerance_is_chosen_though_it_comes_later() -> None:
    for nearer, expected in ((1e-4, 1), (1e-8, 0)):
        line = np.array([[-1.0, 0.0], [1.0 - nearer, 0.0], [0.0, 3.0], [nearer, -3.0]])  # their mean is the origin
        assert kmeans_choice(line, 1, KEY, iterations=5).tolist() == [expected]


def test_of_equal_images_the_first_is_chosen() -> None:
    rows = np.repeat(np.random.default_rng(3).standard_normal((3, 5)), [4, 3, 5], axis=0)
    assert sorted(kmeans_choice(rows.astype(np.float32), 3, KEY, iterations=5).tolist()) == [0, 4, 7]


def test_the_global_generator_is_left_alone() -> None:
    state = np.random.get_state()[1].tolist()  # type: ignore[index]
    kmeans_choice(clusters(3, 5), 3, KEY, 5)
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index]
