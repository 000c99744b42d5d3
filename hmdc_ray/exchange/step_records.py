"""Records of what a step did, as plain numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hmdc_ray.exchange.messages import BalanceRecord, MemberRecord
from hmdc_ray.exchange.schedule import StepPlan

Reference = Any
"""Result of a call: a ``ray.ObjectRef``, or the value itself when everything runs in one
process."""

DISTILLATION = "distillation"
"""Name of the pool's shared target in records."""

AGREEMENT = "agreement/"
"""Prefix of the names of the whole pool's losses, of which each member reports a part; others are a
member's own."""

_TARGET_METRICS = {
    "gbm/weight": "weights_KT",
    "gbm/share": "shares_KT",
    "gradient/largest": "magnitudes_KT",
    "gradient/norm": "norms_KT",
}


@dataclass(frozen=True)
class BadGradient:
    """A target whose gradient was not finite.

    Attributes:
        labels: classes in which the gradient was not finite.
        largest_norm: largest norm of the target's finite gradients; None if none was finite.
    """

    labels: list[int]
    largest_norm: float | None


@dataclass(frozen=True)
class StepRecord:
    """What a step did.

    Attributes:
        plan: the step.
        metrics: numbers by name ``area/what``: losses, seconds, and per target the GBM weight
            relative to the main member, the share in the update, and the gradient's largest entry
            and norm, each the mean over the classes in which it entered.
        left_out: number of classes in which a target was left out, by target; no entry for 0.
        bad: targets whose gradient was not finite in some class.
        members: options drawn for the iteration, by name of the members drawn.
        snapshot: reference to the new images.
    """

    plan: StepPlan
    metrics: dict[str, float]
    left_out: dict[str, int]
    bad: dict[str, BadGradient]
    members: dict[str, dict[str, Any]]
    snapshot: Reference

    @property
    def position(self) -> dict[str, Any]:
        """Place of the step in the run: the step counted from 1, the iteration from 0, and the
        members drawn."""
        return {"step": self.plan.version + 1, "iteration": self.plan.iteration, "members": self.members}


@dataclass(frozen=True)
class Part:
    """A member's record of one call.

    Attributes:
        name: name of the member.
        reference: reference to the record.
        weight: weight of the record in means, the number of classes in the call.
    """

    name: str
    reference: Reference
    weight: int


def summarise(
    targets: Sequence[str], balances: Sequence[BalanceRecord], records: Sequence[tuple[Part, MemberRecord]]
) -> tuple[dict[str, float], dict[str, int], dict[str, BadGradient]]:
    """Gather the records of a step's calls.

    Args:
        targets: names of the targets, in the order of the balance's columns.
        balances: record of the balance of each chunk of classes.
        records: records of the members' calls.

    Returns:
        Metrics, numbers of classes left out, and bad gradients; see :class:`StepRecord`.
    """
    metrics = _losses_and_seconds(records)
    left_out: dict[str, int] = {}
    bad: dict[str, BadGradient] = {}
    balances = sorted(balances, key=lambda balance: balance.labels)  # the same order however classes were shared out
    labels_K = np.concatenate([balance.labels for balance in balances])
    for column, target in enumerate(targets):
        entered_K = np.concatenate([balance.entered_KT[:, column] for balance in balances])
        for name, field in _TARGET_METRICS.items():
            values_K = np.concatenate([getattr(balance, field)[:, column] for balance in balances])
            metrics[f"{name}_{target}"] = float(np.mean(values_K[entered_K])) if entered_K.any() else 0.0
        if not entered_K.all():
            left_out[target] = int((~entered_K).sum())
        norms_K = np.concatenate([balance.norms_KT[:, column] for balance in balances])
        finite_K = np.isfinite(norms_K)
        if not finite_K.all():
            largest = float(norms_K[finite_K].max()) if finite_K.any() else None
            bad[target] = BadGradient(labels_K[~finite_K].tolist(), largest)
    return metrics, left_out, bad


def _losses_and_seconds(records: Sequence[tuple[Part, MemberRecord]]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    losses: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for part, record in records:
        for what, value in record.losses.items():
            name = what if what.startswith(AGREEMENT) else f"loss/{part.name}_{what}"
            losses[name, part.name].append((value, part.weight))
        for phase, seconds in record.seconds.items():
            key = f"seconds/{part.name}_{phase}"
            metrics[key] = metrics.get(key, 0.0) + seconds
    for (name, _), weighted in losses.items():
        means, classes = zip(*weighted, strict=True)
        metrics[name] = metrics.get(name, 0.0) + float(np.average(means, weights=classes))
    terms = [value for name, value in metrics.items() if name.startswith("loss/") and name.endswith("_distillation")]
    if terms:
        metrics[f"loss/{DISTILLATION}"] = sum(terms)
    return metrics
