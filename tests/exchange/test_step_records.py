"""Records of calls become the numbers of a step: means over classes, sums of seconds, targets left out."""

from __future__ import annotations

import numpy as np
import pytest

from hmdc_ray.exchange.messages import BalanceRecord, MemberRecord
from hmdc_ray.exchange.step_records import BadGradient, Part, summarise


def balance(labels: tuple[int, ...], norms_KT: list[list[float]]) -> BalanceRecord:
    """Weights, shares and magnitudes are 1, 2 and 3 times the norms; what is not finite is left out."""
    norms = np.array(norms_KT)
    return BalanceRecord(labels, 3 * norms, norms, 2 * norms, norms, np.isfinite(norms))


def test_targets_are_averaged_over_the_classes_in_which_they_entered() -> None:
    chunks = [balance((2,), [[4.0, np.inf]]), balance((0, 1), [[1.0, 5.0], [1.0, np.nan]])]
    metrics, left_out, bad = summarise(("a", "b"), chunks, [])
    assert metrics["gradient/norm_a"] == metrics["gbm/weight_a"] == 2.0 and metrics["gradient/norm_b"] == 5.0
    assert metrics["gbm/share_a"] == 4.0 and metrics["gradient/largest_b"] == 15.0
    assert left_out == {"b": 2} and bad == {"b": BadGradient([1, 2], 5.0)}
    metrics, _, bad = summarise(("a",), [balance((0,), [[np.nan]])], [])
    assert metrics["gradient/norm_a"] == 0.0 and bad == {"a": BadGradient([0], None)}


def test_losses_are_means_over_classes_and_terms_of_all_members_add_up() -> None:
    records = [
        (Part("a", None, 3), MemberRecord({"classification": 1.0, "distillation": 2.0}, {"match": 0.5})),
        (Part("a", None, 1), MemberRecord({"classification": 5.0, "distillation": 2.0}, {"match": 0.25})),
        (Part("b", None, 4), MemberRecord({"distillation": 3.0, "agreement/mse": 0.5}, {})),
        (Part("a", None, 4), MemberRecord({"agreement/mse": 0.25}, {})),
    ]
    metrics, *_ = summarise((), [balance((0,), [[]])], records)
    assert metrics == pytest.approx(
        {
            "loss/a_classification": 2.0,
            "loss/a_distillation": 2.0,
            "loss/b_distillation": 3.0,
            "loss/distillation": 5.0,
            "agreement/mse": 0.75,
            "seconds/a_match": 0.75,
        }
    )
