"""Students of one condensed set, trained and tested in one process and one thread."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import ImageDataset, open_dataset
from hmdc_ray.errors import DivergedError
from hmdc_ray.evaluation.device import torch_threads
from hmdc_ray.evaluation.distillation import Teacher
from hmdc_ray.evaluation.images import split_batches
from hmdc_ray.evaluation.training import accuracy
from hmdc_ray.evaluation.trial import StudentTrainer, Trial
from hmdc_ray.system.files import write_atomically
from hmdc_ray.system.memory import keep_freed_memory

FITTED = 0.5
"""A training failed if the student names at most this part of its own training images right at the
end.

Not by accuracy on other images: there a student that has learned poor images well may be at chance
too.
"""


@dataclass(frozen=True)
class Judged:
    """What the students of one condensed set reached.

    Attributes:
        accuracies: accuracies by student, in [0, 1], in the order of seeds; chance level for a
            training that diverged.
        failed: marks by student, likewise: whether the training diverged or left the training
            images unlearned.
    """

    accuracies: dict[str, list[float]]
    failed: dict[str, list[bool]]


def judge_once(condensed: CondensedSet, config: RunConfig, file: Path) -> Judged:
    """Train and test the students of ``config.evaluation``, or read what an earlier call with the
    same ones left in ``file``.

    Args:
        condensed: images that they learn from.
        config: configuration, of which ``data``, ``evaluation`` and the seed count; of several
            temperatures the first.
        file: path of the result.
    """
    asked = {"seed": config.seed, "data": config.data.source, "evaluation": config.evaluation.model_dump(mode="json")}
    if file.exists():
        found = json.loads(file.read_text())
        if found["asked"] == asked:
            return Judged(found["accuracies"], found["failed"])
    keep_freed_memory()
    dataset = open_dataset(config.data)
    guess = Trained(1 / len(condensed.class_names), 0.0)
    accuracies: dict[str, list[float]] = {student.name: [] for student in config.evaluation.students}
    failed: dict[str, list[bool]] = {name: [] for name in accuracies}
    for seed in range(config.evaluation.seeds):
        for name, trained in _of_seed(condensed, dataset, config, seed).items():
            accuracies[name].append((trained or guess).accuracy)
            failed[name].append((trained or guess).fitted <= FITTED)
    write_atomically(file, json.dumps({"asked": asked, "accuracies": accuracies, "failed": failed}, indent=1) + "\n")
    return Judged(accuracies, failed)


@dataclass(frozen=True)
class Trained:
    """One student at the end of its training.

    Attributes:
        accuracy: accuracy on the split that is asked for, in [0, 1].
        fitted: accuracy on its own training images, likewise.
    """

    accuracy: float
    fitted: float


def _of_seed(condensed: CondensedSet, dataset: ImageDataset, config: RunConfig, seed: int) -> dict[str, Trained | None]:
    """What each student reaches; None where its training, or its teacher's, diverged."""
    settings = config.evaluation
    room = StudentTrainer(condensed, dataset, settings, config.seed)
    distillation = settings.distillation
    temperature = None if distillation is None else distillation.temperatures[0]
    trials = [
        Trial("condensed", student, seed, index, temperature=temperature) for index, student in enumerate(settings.students)
    ]
    found: dict[str, Trained | None] = dict.fromkeys(student.name for student in settings.students)
    guide: Teacher | None = None
    with torch_threads(1):
        if distillation is not None:
            teacher = room.teacher(seed)
            try:
                room.train(teacher, replace(trials[0], student=distillation.teacher, temperature=None), None, role="teacher")
            except DivergedError:
                return found
            guide = Teacher(teacher.eval(), distillation.alpha, distillation.temperatures[0])
        for trial in trials:
            network = room.student(trial.student, seed)
            try:
                room.train(network, trial, None, guide)
            except DivergedError:
                continue
            reached = accuracy(network, split_batches(dataset, settings.split, "cpu", condensed))
            found[trial.student.name] = Trained(reached, accuracy(network, [condensed.decoded()]))
    return found
