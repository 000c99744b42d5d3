"""Random draws from keys: the same key gives the same draw, in any process and whatever was drawn
before.

No code in this package touches torch's, NumPy's or Python's global generators. What accepts no
generator (constructors of layers, dropout) runs inside :func:`forked`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

Stream = Literal[
    "initial_images",
    "pool",
    "network",
    "options",
    "aligner",
    "real_images",
    "kmeans",
    "decoded_images",
    "augmentation",
    "matching",
    "batchnorm",
    "train_images",
    "train_augmentation",
    "train_network",
    "aligner_images",
    "aligner_augmentation",
    "probe",
    "cutmix",
    "split",
    "baseline",
    "student",
    "student_order",
    "student_augmentation",
]


@dataclass(frozen=True, slots=True)
class Key:
    """Identity of a draw; fields that do not apply stay 0.

    Attributes:
        seed: the run's seed.
        stream: purpose of the draw; two purposes never share one.
        member: index of the pool member (or of the student in an evaluation).
        iteration: number of the iteration, from 0.
        step: number of the step within the iteration, from 0.
        label: index of the class, from 0.
        batch: number of the batch (or epoch) within the step, from 0.
    """

    seed: int
    stream: Stream
    member: int = 0
    iteration: int = 0
    step: int = 0
    label: int = 0
    batch: int = 0

    def number(self) -> int:
        """The key as an integer in [0, 2**63), well mixed: neighbouring keys give unrelated
        numbers."""
        text = f"{self.seed}/{self.stream}/{self.member}/{self.iteration}/{self.step}/{self.label}/{self.batch}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1

    def generator(self) -> torch.Generator:
        """A fresh CPU generator. Draw on the CPU and move the result, so that devices agree."""
        return torch.Generator().manual_seed(self.number())

    def numpy(self) -> np.random.Generator:
        """A fresh NumPy generator, for SciPy and scikit-learn."""
        return np.random.default_rng(self.number())


@contextmanager
def forked(key: Key) -> Iterator[None]:
    """Run code that draws from torch's global generators: seeds them from ``key``, then restores
    their states."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(key.number())
        if devices:
            torch.cuda.manual_seed_all(key.number())
        yield
