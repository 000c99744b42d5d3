"""The gradients of a step's targets with respect to the images, and how far two ways to compute
them agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Targets = Mapping[str, NDArray[np.floating]]
"""Gradients (K, I, C, H, W) by target: of each member's process, and of the distillation."""

DISTILLATION = "distillation"


@dataclass(frozen=True)
class Agreement:
    """How far the gradients of one target agree, over all classes.

    Attributes:
        error: norm of their difference over the norm of the expected ones.
        cosine: cosine of the angle between them.
    """

    error: float
    cosine: float


def targets(messages: Mapping[tuple[str, str], list[Any]]) -> Targets:
    """Gradients from the results of a step's calls ``match`` and ``pull_back``, by process and
    call, chunk after chunk."""
    found: dict[str, NDArray[np.floating]] = {}
    distillation = []
    for (process, _), results in messages.items():  # whichever of the two calls is the last gives the gradients
        parts = [result[0] if isinstance(result, tuple) else result for result in results]
        gradients = [part for part in parts if part is not None]
        if gradients:
            found[process] = np.concatenate([message.classification_KICHW for message in gradients])
        shared = [message.distillation_KICHW for message in gradients if message.distillation_KICHW is not None]
        distillation += [np.concatenate(shared)] if shared else []
    if distillation:
        found[DISTILLATION] = np.sum(distillation, axis=0)
    return found


def compare(found: Targets, expected: Targets) -> dict[str, Agreement]:
    """Agreement by target."""
    return {name: _agreement(found[name].astype(np.float64), expected[name].astype(np.float64)) for name in expected}


def _agreement(found: NDArray[np.float64], expected: NDArray[np.float64]) -> Agreement:
    size, other = np.linalg.norm(expected), np.linalg.norm(found)
    return Agreement(float(np.linalg.norm(found - expected) / size), float((found * expected).sum() / (size * other)))
