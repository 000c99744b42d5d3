"""An evaluation cut into trials that do not depend on each other: one student, one seed, one set of images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.device import torch_threads
from hmdc_ray.evaluation.distillation import Teacher
from hmdc_ray.evaluation.images import Kind, split_batches
from hmdc_ray.evaluation.sets import check_fit
from hmdc_ray.evaluation.training import accuracy
from hmdc_ray.evaluation.trial import StudentTrainer, Trial

State = dict[str, Tensor]
"""Parameters and buffers of a trained network, on the CPU."""


def baseline_kinds(config: EvaluationConfig, formation: int = 1) -> tuple[Kind, ...]:
    """The kinds of real images that students are trained on, beside condensed ones of this formation factor.

    With formation 1 the count-fair baselines are the storage-fair ones, which are not trained twice.
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


def run_trial(
    trial: Trial,
    condensed: CondensedSet,
    dataset: ImageDataset,
    config: EvaluationConfig,
    run_seed: int,
    threads: int,
    *,
    rows: np.ndarray | None = None,
    teacher: State | None = None,
    device: str = "cpu",
) -> float:
    """Train one fresh student and test it. The same arguments give the same result, on a CPU to the last bit.

    Args:
        trial: the trial.
        condensed: condensed images; their mean and std normalise real training and test images too.
        dataset: real data, of which the training split gives real images, and the configured split the test images.
        config: configuration with recipe and split.
        run_seed: the run's seed.
        threads: number of torch threads, at least 1; restored afterwards.
        rows: result of :func:`hmdc_ray.evaluation.images.chosen_rows` for the trial's kind and seed, int64 (N,), if already
            computed. All students of a seed share it, and with k-means it costs a pass over the training split.
        teacher: result of :func:`train_teacher` for the trial, if already computed.
        device: device of the student, ``cpu`` or ``cuda``.

    Returns:
        Accuracy in [0, 1].

    Raises:
        InputError: the data or an architecture does not fit, or the split is empty.
        RunError: training diverged; names the student, the images and the seed.
    """
    check_fit(condensed, dataset.info)
    if not len(dataset.labels(config.split)):
        raise InputError(f"evaluation.split is {config.split!r}, which has no images in data {dataset.info.source!r}")
    room, guide = StudentTrainer(condensed, dataset, config, run_seed, device), None
    if trial.temperature is not None:
        assert config.distillation is not None, "a temperature without a teacher"
        if teacher is None:
            teacher = train_teacher(trial, condensed, dataset, config, run_seed, threads, rows=rows, device=device)
        trained = room.teacher(trial.seed_index)
        trained.load_state_dict(teacher)
        guide = Teacher(trained.eval(), config.distillation.alpha, trial.temperature)
    with torch_threads(threads):
        network = room.student(trial.student, trial.seed_index)
        room.train(network, trial, rows, guide)
        return accuracy(network, split_batches(condensed, dataset, config.split, device))


def train_teacher(
    trial: Trial,
    condensed: CondensedSet,
    dataset: ImageDataset,
    config: EvaluationConfig,
    run_seed: int,
    threads: int,
    *,
    rows: np.ndarray | None = None,
    device: str = "cpu",
) -> State:
    """Train the teacher of a trial from labels alone, on the same images and with the same recipe, with a key of its own.

    It does not depend on the trial's student and temperature. See :func:`run_trial` for arguments and errors.
    """
    assert config.distillation is not None, "no teacher is asked for"
    room = StudentTrainer(condensed, dataset, config, run_seed, device)
    with torch_threads(threads):
        network = room.teacher(trial.seed_index)
        room.train(network, replace(trial, student=config.distillation.teacher, temperature=None), rows, role="teacher")
    return {name: value.cpu() for name, value in network.state_dict().items()}
