"""Members that compute nothing: they wait as long as real ones would compute, and send messages of
the same size.

No torch is imported here: many members share a process of a hundred megabytes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from hmdc_ray.exchange.messages import Cotangents, Features, Gradients, GradientSizes, MemberRecord

FILL = 0.25
"""Every value that is sent."""


@dataclass(frozen=True)
class Sizes:
    """What a member sends for one class, and how long it computes for it.

    Attributes:
        images: shape of a class' images, (I, C, H, W).
        real: number of images in a real batch.
        synthetic: number of images in a synthetic batch.
        features: shape of an image's aligned features, (L, T, D).
        seconds: seconds of computation by exchange: ``features``, ``match``, ``pull_back``.
    """

    images: tuple[int, int, int, int]
    real: int
    synthetic: int
    features: tuple[int, int, int]
    seconds: dict[str, float]


class Members:
    """Several members in one process; each does its calls one after the other, as an actor of its
    own would.

    Args:
        sizes: sizes of every member's messages.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._turns: dict[int, int] = defaultdict(int)
        self._changed: dict[int, asyncio.Condition] = defaultdict(asyncio.Condition)
        real, synthetic = (np.full((batch, *sizes.features), FILL, np.float32) for batch in (sizes.real, sizes.synthetic))
        self._batches, self._cotangent = (real, synthetic), synthetic

    async def features(self, member: int, turn: int, version: int, labels: tuple[int, ...], *_: object) -> Features:
        """Wait, and answer as :meth:`hmdc_ray.matching.matcher.Matcher.features` does."""
        await self._wait(member, turn, "features", len(labels))
        return Features(version, self._batches * len(labels), (True, True) * len(labels))

    async def match(
        self, member: int, turn: int, version: int, labels: tuple[int, ...], *_: object
    ) -> tuple[None, Cotangents, MemberRecord]:
        """Wait, and answer as :meth:`hmdc_ray.matching.matcher.Matcher.match` does."""
        await self._wait(member, turn, "match", len(labels))
        return None, Cotangents(version, labels, (self._cotangent,) * len(labels)), MemberRecord()

    async def pull_back(self, member: int, turn: int, version: int, labels: tuple[int, ...], *_: object) -> Gradients:
        """Wait, and answer as :meth:`hmdc_ray.matching.matcher.Matcher.pull_back` does."""
        await self._wait(member, turn, "pull_back", len(labels))
        values, ones = np.prod(self._sizes.images), np.ones(len(labels))
        sizes = GradientSizes(FILL * ones, FILL * values * ones, FILL * np.sqrt(values) * ones)
        losses = (1.0,) * len(labels)
        return Gradients(version, labels, self._images(labels), sizes, self._images(labels), losses, losses)

    async def _wait(self, member: int, turn: int, exchange: str, classes: int) -> None:
        """Wait for the member's turn, and then as long as it would compute."""
        changed = self._changed[member]
        async with changed:
            await changed.wait_for(lambda: self._turns[member] == turn)
        await asyncio.sleep(classes * self._sizes.seconds[exchange])
        async with changed:
            self._turns[member] += 1
            changed.notify_all()

    def _images(self, labels: tuple[int, ...]) -> np.ndarray:
        return np.full((len(labels), *self._sizes.images), FILL, np.float32)
