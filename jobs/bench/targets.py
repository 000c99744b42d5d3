"""The gradients of a step's targets with respect to the images, and how far two ways to compute them agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmdc_ray.messages import PulledBack

Targets = Mapping[str, NDArray[np.floating]]
"""Gradients by target: of each member's process, and of the distillation."""

DISTILLATION = "distillation"


@dataclass(frozen=True)
class Agreement:
    """Of the gradients of one target over all classes.

    Attributes:
        error: norm of their difference over the norm of the expected ones.
        cosine: of the angle between them.
    """

    error: float
    cosine: float


def targets(messages: Mapping[tuple[str, str], list[Any]]) -> Targets:
    """From the results of a step's calls ``match`` and ``pull_back`` by process and call, chunk after chunk."""
    found: dict[str, NDArray[np.floating]] = {}
    distillation = []
    for (process, _), results in messages.items():  # of one call: what it returns is always of the same kind
        gradients = [result[0] for result in results if isinstance(result, tuple)]
        pulled = [message for message in results if isinstance(message, PulledBack)]
        if gradients:
            found[process] = np.concatenate([message.classification_KICHW for message in gradients])
        own = [message.distillation_KICHW for message in gradients if message.distillation_KICHW is not None]
        distillation += [np.concatenate(parts) for parts in (own, [message.images_KICHW for message in pulled]) if parts]
    if distillation:
        found[DISTILLATION] = np.sum(distillation, axis=0)
    return found


def compare(found: Targets, expected: Targets) -> dict[str, Agreement]:
    """Agreement by target."""
    return {name: _agreement(found[name].astype(np.float64), expected[name].astype(np.float64)) for name in expected}


def _agreement(found: NDArray[np.float64], expected: NDArray[np.float64]) -> Agreement:
    size, other = np.linalg.norm(expected), np.linalg.norm(found)
    return Agreement(float(np.linalg.norm(found - expected) / size), float((found * expected).sum() / (size * other)))
