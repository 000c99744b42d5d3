"""Two tiny networks measured in this process: phases, and bytes against counts by hand."""

from __future__ import annotations

import numpy as np
from measured import Measured


def test_each_worker_has_all_phases_of_a_step_with_distillation(measured: Measured) -> None:
    expected = {"data", "forward", "real_gradients", "synthetic_gradients", "second_derivative", "distillation_real"}
    expected |= {"distillation_synthetic", "pull_back", "training", "training_data", "aligner_training"}
    for half in (measured.bench.actors, measured.bench.one_process):
        assert [set(half.steps[0].phases[worker]) for worker in ("worker a", "worker a_b")] == [expected, expected]
    assert {"consensus", "share", "balance_gradients", "apply"} <= set(measured.bench.one_process.steps[0].phases["server"])


def test_bytes_are_those_counted_by_hand(measured: Measured) -> None:
    classes, members, real, synthetic, pixels, single = 3, 2, 5, 4, 8 * 8, 4
    features = (1 + 2 * 2) * 4 * single  # of one image: tokens of the deeper network's last map, channels
    images = classes * 1 * pixels * single
    pairs, cotangents = classes * (real + synthetic) * features, classes * synthetic * features
    training = 2 * 4 * features  # two batches of four images
    alignment = training + 4 * features  # the first one again
    expected = {("server", "consensus"): members * (pairs + training + alignment)}
    expected["server", "share"] = members * cotangents
    expected["server", "balance_gradients"] = members * (2 * images + classes * 3 * 8)  # both targets, and three sizes of one
    for worker in measured.bench.workers:
        expected[worker, "match"] = pairs
        expected[worker, "pull_back"] = cotangents
        expected[worker, "training_features"] = images  # the next step's matching has them already
        expected[worker, "training_step"], expected[worker, "aligner_step"] = training, alignment
    targets = members + 1
    expected["driver", "get"] = classes * targets * (4 * np.dtype(np.float64).itemsize + np.dtype(np.bool_).itemsize)
    assert measured.bench.traffic == expected
