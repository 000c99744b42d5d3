"""Numbers of a step, from the records of its calls."""

from __future__ import annotations

import numpy as np

from hmdc_ray.exchange.messages import BalanceRecord, MemberRecord
from hmdc_ray.exchange.step_records import BadGradient, Part, summarise


def balance(labels: tuple[int, ...], norm: float, *, entered: bool = True) -> BalanceRecord:
    """Two targets, of which the second may be left out; its numbers are those of its classes'
    labels."""
    numbers = np.array([[1.0, label] for label in labels])
    norms = np.array([[1.0, norm]] * len(labels))
    return BalanceRecord(labels, numbers, numbers, numbers, norms, np.array([[True, entered]] * len(labels)))


def test_targets_are_averaged_over_the_classes_that_they_entered_and_named_where_not_finite() -> None:
    balances = [balance((2,), np.inf, entered=False), balance((0, 1), 5.0)]
    metrics, left_out, bad = summarise(["a", "b"], balances, [])
    assert metrics["gbm/weight_b"] == 0.5 and metrics["gradient/norm_b"] == 5.0
    assert (left_out, bad) == ({"b": 1}, {"b": BadGradient([2], 5.0)})


def test_losses_are_averaged_over_classes_seconds_and_what_members_agree_on_are_summed() -> None:
    def record(loss: float, agreed: float) -> MemberRecord:
        return MemberRecord({"distillation": loss, "agreement/before": agreed}, {"forward": 2.0})

    records = [
        (Part("a", None, 3), record(1.0, 0.5)),
        (Part("a", None, 1), record(5.0, 0.5)),
        (Part("b", None, 4), record(3.0, 1.0)),
    ]
    metrics, _, _ = summarise([], [balance((0,), 1.0)], records)
    assert (metrics["loss/a_distillation"], metrics["loss/distillation"]) == (2.0, 5.0)
    assert (metrics["agreement/before"], metrics["seconds/a_forward"]) == (1.5, 4.0)
