"""A linear probe tells classes from features that differ, and takes as much memory as is said."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from hmdc_ray.matching.probe import CLASSIFIER_BYTES, linear_probe


def test_a_probe_of_features_that_tell_the_classes_is_right_and_of_noise_by_chance() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(4, size=1200)
    telling = np.eye(4)[labels] @ generator.standard_normal((4, 50)) + 0.1 * generator.standard_normal((1200, 50))
    noise = generator.standard_normal((1200, 50))
    for features, least, most in ((telling, 0.99, 1.0), (noise, 0.15, 0.35), (np.zeros((1200, 50)), 0.15, 0.35)):
        accuracy = linear_probe(features[:600], labels[:600], features[600:], labels[600:])
        assert accuracy is not None and least <= accuracy <= most
    assert linear_probe(telling[:600], np.zeros(600, int), telling[600:], labels[600:]) is None  # one class tells nothing
    telling[3, 7] = np.nan
    assert linear_probe(telling[:600], labels[:600], telling[600:], labels[600:]) is None


def test_a_classifier_takes_so_many_bytes_for_each_number() -> None:
    """Against Python's own count of what NumPy takes, in float32 and float64."""
    labels = np.arange(300) % 10
    features = np.random.default_rng(0).standard_normal((300, 4000))
    kinds: tuple[NDArray[np.floating], ...] = (features.astype(np.float32), features)
    for given in kinds:
        linear_probe(given[:20], labels[:20], given[20:40], labels[20:40])  # imports
        tracemalloc.start()
        linear_probe(given, labels, given, labels)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most == pytest.approx(CLASSIFIER_BYTES * features.size, rel=0.2)
