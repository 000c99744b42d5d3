"""Evaluations made of rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hmdc_ray.evaluation.report import Evaluation, Row

FIELDS: dict[str, Any] = {
    "protocol": "dc",
    "split": "test",
    "epochs": 300,
    "augmentation": False,
    "run_seed": 0,
    "ipc": 10,
    "formation": 1,
    "mean": (0.5,),
    "std": (0.25,),
    "data_source": "digits",
    "data_fingerprint": "f",
    "condensed_fingerprint": None,
    "version": "0",
}


def evaluation_of(rows: Sequence[Row], *, seeds: int, **fields: Any) -> Evaluation:
    """An evaluation with these rows; ``fields`` in the place of :data:`FIELDS`."""
    return Evaluation(rows=tuple(rows), seeds=seeds, **{**FIELDS, **fields})
