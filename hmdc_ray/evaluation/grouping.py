"""Which trials of an evaluation are trained together, and in which order.

Groups follow from the configuration, and not from the number of processors: another group rounds
otherwise, and may end in other accuracies. They have the seeds of the condensed images, or of the
baselines with as many images; those whose accuracy is known already are missing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.evaluation.images import per_stored
from hmdc_ray.evaluation.trial import StudentTrainer, Trial, trial_recipe
from hmdc_ray.models import registered
from hmdc_ray.models.stack import image_work, is_stackable

MOST_WORK = 400_000_000
"""Multiplications in a forward pass of a group on a batch, which bound its memory too: a group of
one takes longer for what it computes than for being called, and has no use for others."""


def groups(trials: Sequence[Trial], trainer: StudentTrainer, images: int) -> list[list[int]]:
    """Positions of the trials that are trained together, groups with much work first; a trial that
    is trained by itself is a group of one.

    By itself is trained who learns from a teacher or from the whole data, networks that are not
    registered, and those that :func:`hmdc_ray.models.stack.is_stackable` refuses.

    Args:
        trials: trials of an evaluation.
        trainer: trainer that makes the students.
        images: number of training images of the largest condensed set, from :func:`most_images`.
    """
    works = {trial.member_index: _work(trial, trainer, images) for trial in _first_of_each(trials)}
    found: dict[Hashable, list[int]] = {}
    for position, trial in enumerate(trials):
        alone = trial.temperature is not None or trial.kind == "whole_data" or works[trial.member_index] == math.inf
        real = None if trial.kind == "condensed" else per_stored(trial.kind, trainer.condensed)
        key = (trial.member_index, trial.set_index, trial.switched, real)
        found.setdefault(position if alone else key, []).append(position)
    cut = [part for places in found.values() for part in _parts(places, works[trials[places[0]].member_index])]
    return sorted(cut, key=lambda places: -len(places) * works[trials[places[0]].member_index])


def most_images(sets: Iterable[CondensedSet]) -> int:
    """Number of training images that are decoded from the largest of the sets."""
    return max(len(each) * each.formation**2 for each in sets)


def _first_of_each(trials: Sequence[Trial]) -> list[Trial]:
    return list({trial.member_index: trial for trial in reversed(trials)}.values())


def _work(trial: Trial, trainer: StudentTrainer, images: int) -> float:
    """Multiplications in a forward pass of the trial's student on a batch; infinity: it is trained
    by itself."""
    if trial.student.architecture not in registered():
        return math.inf
    try:
        network = trainer.student(trial.student, trial.seed_index)
    except Exception:  # which the trial itself meets, and tells
        return math.inf
    batch = min(images, trial_recipe(trial, trainer.config).batch)
    return image_work(network) * batch if is_stackable(network) else math.inf


def _parts(places: list[int], work: float) -> list[list[int]]:
    """The places in as few parts of nearly the same length as :data:`MOST_WORK` allows."""
    most = max(1, int(MOST_WORK // work)) if work else len(places)
    count = math.ceil(len(places) / most)
    return [places[len(places) * part // count : len(places) * (part + 1) // count] for part in range(count)]
