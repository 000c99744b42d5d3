"""An evaluation cut into trials that do not depend on each other: one student, one seed, one set of
images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from hmdc_ray.config import EvaluationConfig
from hmdc_ray.errors import DivergedError, InputError
from hmdc_ray.evaluation.device import torch_threads
from hmdc_ray.evaluation.distillation import Teacher
from hmdc_ray.evaluation.images import Kind, split_batches
from hmdc_ray.evaluation.sets import check_fit
from hmdc_ray.evaluation.training import accuracies, accuracy
from hmdc_ray.evaluation.trial import StudentTrainer, Trial

State = dict[str, Tensor]
"""Parameters and buffers of a trained network, on the CPU."""


def baseline_kinds(config: EvaluationConfig, formation: int = 1) -> tuple[Kind, ...]:
    """The kinds of real images that students are trained on, beside condensed ones of this
    formation factor.

    With formation 1 the count-fair baselines are the storage-fair ones, which are not trained
    twice.
    """
    fair_in_storage: dict[str, tuple[Kind, ...]] = {
        "none": (),
        "random": ("random",),
        "kmeans": ("kmeans",),
        "both": ("random", "kmeans"),
    }
    fair_in_count: dict[Kind, Kind] = {"random": "random_count", "kmeans": "kmeans_count"}
    kinds = fair_in_storage[config.baselines]
    if config.count_fair and formation > 1:
        kinds += tuple(fair_in_count[kind] for kind in kinds)
    bounded = config.whole_data is not None or config.whole_data_epochs is not None
    return (*kinds, "whole_data") if bounded else kinds


def plan(config: EvaluationConfig, *, formation: int = 1, sets: int = 1) -> list[Trial]:
    """All trials: students x images x seeds, in this order, without temperatures yet.

    Args:
        config: configuration of students, seeds and baselines.
        formation: formation factor of the first condensed set.
        sets: number of condensed sets.
    """
    images: list[tuple[Kind, int, bool]] = [("condensed", index, False) for index in range(sets)]
    images += [(kind, 0, False) for kind in baseline_kinds(config, formation)]
    if config.augmentation_robust:
        images += [("condensed", 0, True), ("random", 0, True)]
    return [
        Trial(kind, student, seed_index, member_index, set_index, switched)
        for member_index, student in enumerate(config.students)
        for kind, set_index, switched in images
        # A network that was trained already exists once, whatever the number of seeds.
        for seed_index in range(1 if kind == "whole_data" and config.whole_data is not None else config.seeds)
    ]


def run_trial(trial: Trial, trainer: StudentTrainer, *, rows: np.ndarray | None = None, teacher: State | None = None) -> float:
    """Train one fresh student and test it. The same arguments give the same result, on a CPU to the
    last bit.

    Args:
        trial: the trial.
        trainer: trainer, whose configuration names the split to test on.
        rows: result of :func:`hmdc_ray.evaluation.images.chosen_rows` for the trial's kind and
            seed, int64 (N,), if already computed. All students of a seed share it, and with k-means
            it costs a pass over the training split.
        teacher: result of :func:`train_teacher` for the trial, if already computed.

    Returns:
        Accuracy in [0, 1].

    Raises:
        InputError: the data or an architecture does not fit, or the split is empty.
        RunError: training diverged; names the student, the images and the seed.
    """
    _require_test_images(trainer)
    guide = None
    if trial.temperature is not None:
        assert trainer.config.distillation is not None, "a temperature without a teacher"
        trained = trainer.teacher(trial.seed_index)
        trained.load_state_dict(train_teacher(trial, trainer, rows=rows) if teacher is None else teacher)
        guide = Teacher(trained.eval(), trainer.config.distillation.alpha, trial.temperature)
    with torch_threads(trainer.threads):
        network = trainer.student(trial.student, trial.seed_index)
        trainer.train(network, trial, rows, guide)
        return accuracy(network, _test_batches(trainer))


def run_trials(
    trials: Sequence[Trial], trainer: StudentTrainer, rows: Sequence[np.ndarray | None]
) -> list[float | DivergedError]:
    """Train and test the students of a group of :func:`hmdc_ray.evaluation.grouping.groups` at a
    time.

    Args:
        trials: trials of the group.
        trainer: trainer, whose configuration names the split to test on.
        rows: rows of the training split for each baseline; None: they are chosen here, or the
            trial's images are condensed.

    Returns:
        For each what :func:`run_trial` would give, but for rounding: accuracy in [0, 1], or the
        error of a training that diverged.

    Raises:
        InputError: the data or an architecture does not fit, or the split is empty.
    """
    _require_test_images(trainer)
    with torch_threads(trainer.threads):
        networks = [trainer.student(trial.student, trial.seed_index) for trial in trials]
        errors = trainer.train_together(networks, trials, rows)
        found = accuracies(networks, _test_batches(trainer))
    return [value if error is None else error for value, error in zip(found, errors, strict=True)]


def _require_test_images(trainer: StudentTrainer) -> None:
    dataset, split = trainer.dataset, trainer.config.split
    check_fit(trainer.condensed, dataset.info)
    if not len(dataset.labels(split)):
        raise InputError(f"evaluation.split is {split!r}, which has no images in data {dataset.info.source!r}")


def _test_batches(trainer: StudentTrainer) -> Iterator[tuple[Tensor, Tensor]]:
    return split_batches(trainer.dataset, trainer.config.split, trainer.device, trainer.condensed)


def train_teacher(trial: Trial, trainer: StudentTrainer, *, rows: np.ndarray | None = None) -> State:
    """Train the teacher of a trial from labels alone, on the same images and with the same recipe,
    with a key of its own.

    It does not depend on the trial's student and temperature. See :func:`run_trial` for arguments
    and errors.
    """
    distillation = trainer.config.distillation
    assert distillation is not None, "no teacher is asked for"
    with torch_threads(trainer.threads):
        network = trainer.teacher(trial.seed_index)
        trainer.train(network, replace(trial, student=distillation.teacher, temperature=None), rows, role="teacher")
    return {name: value.cpu() for name, value in network.state_dict().items()}
