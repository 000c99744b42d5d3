"""Students of one condensed set, trained and tested in one process and one thread."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import ImageDataset, open_dataset
from hmdc_ray.data.schema import Split
from hmdc_ray.errors import DivergedError
from hmdc_ray.evaluation.plan import State, run_trial, train_teacher
from hmdc_ray.evaluation.trial import Trial
from hmdc_ray.files import write_atomically
from hmdc_ray.memory import keep_freed_memory

CHANCE_MARGIN = 0.01
"""A training failed if its accuracy is at most this much above what naming the largest class gives."""


@dataclass(frozen=True)
class Judged:
    """What the students of one condensed set reached.

    Attributes:
        accuracies: by student, in [0, 1], in the order of seeds; a training that diverged has what a guess gives.
        failed: by student, likewise: whether the training ended at chance.
    """

    accuracies: dict[str, list[float]]
    failed: dict[str, list[bool]]


def judge_once(condensed: CondensedSet, config: RunConfig, file: Path) -> Judged:
    """Train and test the students of ``config.evaluation``, or read what an earlier call with the same ones left in ``file``.

    Args:
        condensed: what they learn from.
        config: its sections ``data`` and ``evaluation`` and its seed; of temperatures the first counts.
        file: for the result.
    """
    asked = {"seed": config.seed, "data": config.data.source, "evaluation": config.evaluation.model_dump(mode="json")}
    if file.exists():
        found = json.loads(file.read_text())
        if found["asked"] == asked:
            return Judged(found["accuracies"], found["failed"])
    keep_freed_memory()
    dataset = open_dataset(config.data)
    highest, guess = chance(dataset, config.evaluation.split)
    accuracies: dict[str, list[float]] = {student.name: [] for student in config.evaluation.students}
    for seed in range(config.evaluation.seeds):
        for name, accuracy in _of_seed(condensed, dataset, config, seed).items():
            accuracies[name].append(guess if accuracy is None else accuracy)
    failed = {name: [value <= highest for value in values] for name, values in accuracies.items()}
    write_atomically(file, json.dumps({"asked": asked, "accuracies": accuracies, "failed": failed}, indent=1) + "\n")
    return Judged(accuracies, failed)


def chance(dataset: ImageDataset, split: Split) -> tuple[float, float]:
    """The highest accuracy that counts as chance, and that of a guess."""
    counts_K = np.bincount(dataset.labels(split), minlength=len(dataset.info.class_names))
    return float(counts_K.max() / counts_K.sum()) + CHANCE_MARGIN, 1 / len(counts_K)


def _of_seed(condensed: CondensedSet, dataset: ImageDataset, config: RunConfig, seed: int) -> dict[str, float | None]:
    """Accuracy of each student; None where its training, or its teacher's, diverged."""
    settings = config.evaluation
    temperature = None if settings.distillation is None else settings.distillation.temperatures[0]
    trials = [
        Trial("condensed", student, seed, index, temperature=temperature) for index, student in enumerate(settings.students)
    ]
    teacher: State | None = None
    found: dict[str, float | None] = dict.fromkeys(student.name for student in settings.students)
    try:
        if temperature is not None:
            teacher = train_teacher(trials[0], condensed, dataset, settings, config.seed, 1)
    except DivergedError:
        return found
    for trial in trials:
        try:
            accuracy = run_trial(trial, condensed, dataset, settings, config.seed, 1, teacher=teacher)
        except DivergedError:
            continue
        assert math.isfinite(accuracy)
        found[trial.student.name] = accuracy
    return found
