"""Trials made by hand."""

from __future__ import annotations

from hmdc_ray.search.records import RungRecord, State, TrialRecord

FIDELITIES = (1, 3, 9)


def rung(accuracy: float, seconds: float, fidelity: int, problem: str = "") -> RungRecord:
    return RungRecord(fidelity, fidelity, fidelity, accuracy, accuracy / 2, "mlp", {"mlp": accuracy}, seconds, problem)


def trial(number: int, state: State, *accuracies: float, seconds: float = 1.0, **sample: float) -> TrialRecord:
    rungs = tuple(rung(value, seconds, fidelity) for value, fidelity in zip(accuracies, FIDELITIES, strict=False))
    return TrialRecord(number, f"{number:04d}-x", state, dict(sample), {}, rungs)
