"""What an evaluation does, cut into trials that do not depend on each other: one student, one seed, one set of images."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig, StudentConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.baselines import Baseline, baseline_rows
from hmdc_ray.evaluation.protocol import recipe
from hmdc_ray.evaluation.threads import torch_threads
from hmdc_ray.evaluation.training import accuracy, train_student
from hmdc_ray.models.registry import build
from hmdc_ray.seeding import Key

Kind = Literal["condensed", "random", "kmeans"]
TEST_BATCH = 512


@dataclass(frozen=True, slots=True)
class Trial:
    """One student to train.

    Attributes:
        kind: the images it is trained on: condensed, or a baseline of real ones.
        student: its architecture.
        seed_index: from 0 to seeds - 1. A student starts from the same weights whatever the kind of images.
        member_index: position of the student in the configuration.
    """

    kind: Kind
    student: StudentConfig
    seed_index: int
    member_index: int


def baseline_kinds(config: EvaluationConfig) -> tuple[Baseline, ...]:
    """The baselines that a configuration asks for."""
    choices: dict[str, tuple[Baseline, ...]] = {
        "none": (),
        "random": ("random",),
        "kmeans": ("kmeans",),
        "both": ("random", "kmeans"),
    }
    return choices[config.baselines]


def plan(config: EvaluationConfig) -> list[Trial]:
    """All trials: students x kinds x seeds, in this order."""
    kinds: tuple[Kind, ...] = ("condensed", *baseline_kinds(config))
    return [
        Trial(kind, student, seed_index, member_index)
        for member_index, student in enumerate(config.students)
        for kind in kinds
        for seed_index in range(config.seeds)
    ]


def check_fit(condensed: CondensedSet, info: DatasetInfo) -> None:
    """Refuse data that the condensed images cannot be tested on.

    Raises:
        InputError: another number or order of classes, or another image shape.
    """
    if len(condensed.class_names) != len(info.class_names):
        raise InputError(
            f"data {info.source!r} has {len(info.class_names)} classes, but the condensed images have "
            f"{len(condensed.class_names)}: give the data that they were learned from"
        )
    reordered = sorted(condensed.class_names) == sorted(info.class_names)
    for label, (ours, theirs) in enumerate(zip(condensed.class_names, info.class_names, strict=True)):
        if reordered and ours != theirs:
            raise InputError(f"data {info.source!r}: class {label} is {theirs!r}, but of the condensed images it is {ours!r}")
    shape = (info.shape.channels, info.shape.height, info.shape.width)
    if shape != tuple(condensed.images.shape[1:]):
        raise InputError(
            f"data {info.source!r} has images of {_describe(shape)}, but the condensed images have "
            f"{_describe(condensed.images.shape[1:])}: set data.channels and data.image_size"
        )


def _describe(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    return f"{channels} channel{'s' if channels > 1 else ''} and {height}x{width} pixels"


def run_trial(
    trial: Trial,
    condensed: CondensedSet,
    dataset: ImageDataset,
    config: EvaluationConfig,
    run_seed: int,
    threads: int,
    *,
    rows: np.ndarray | None = None,
    device: str = "cpu",
) -> float:
    """Train one fresh student and test it. The same arguments give the same result, on a CPU to the last bit.

    Args:
        trial: what to do.
        condensed: the images; their mean and std normalise real training and test images too.
        dataset: real data: the training split for baselines, the configured split for testing.
        config: recipe and split.
        run_seed: the run's seed.
        threads: torch threads, at least 1; put back afterwards.
        rows: what :func:`baseline_rows` gives for the trial's kind and seed, where it is known already. All students of a
            seed share it, and with k-means it costs a pass over the training split.
        device: where the student is trained, ``cpu`` or ``cuda``.

    Returns:
        Accuracy in [0, 1].

    Raises:
        InputError: the data or the architecture does not fit, or the split is empty.
        FloatingPointError: training diverged; names the architecture, the images and the seed.
    """
    check_fit(condensed, dataset.info)
    if not len(dataset.labels(config.split)):
        raise InputError(f"evaluation.split is {config.split!r}, which has no images in data {dataset.info.source!r}")
    with torch_threads(threads):
        images_NCHW, labels_N = _training_images(trial, condensed, dataset, run_seed, rows)
        student = trial.student
        # The network, not its place in the list, makes the key: a student gives the same numbers beside any others.
        network_number = zlib.crc32(f"{student.architecture} {sorted(student.options.items())}".encode())
        key = Key(run_seed, "student", member=network_number, iteration=trial.seed_index)
        network = build(student.architecture, student.options, dataset.info.shape, len(condensed.class_names), key).to(device)
        try:
            train_student(network, images_NCHW.to(device), labels_N.to(device), recipe(config), key)
        except FloatingPointError as error:
            where = f"student {student.name!r} on {trial.kind} images, seed {trial.seed_index} of run seed {run_seed}"
            raise FloatingPointError(f"{where}: {error}") from error
        return accuracy(network, _test_batches(condensed, dataset, config, device))


def _training_images(
    trial: Trial, condensed: CondensedSet, dataset: ImageDataset, run_seed: int, rows: np.ndarray | None
) -> tuple[Tensor, Tensor]:
    if trial.kind == "condensed":
        return condensed.decoded()
    if rows is None:
        rows = baseline_rows(trial.kind, trial.seed_index, condensed, dataset, run_seed)
    return condensed.normalise(dataset.pixels("train", rows)), torch.from_numpy(dataset.labels("train")[rows])


def _test_batches(
    condensed: CondensedSet, dataset: ImageDataset, config: EvaluationConfig, device: str
) -> Iterator[tuple[Tensor, Tensor]]:
    labels = dataset.labels(config.split)
    for start in range(0, len(labels), TEST_BATCH):
        rows = np.arange(start, min(start + TEST_BATCH, len(labels)))
        images_BCHW = condensed.normalise(dataset.pixels(config.split, rows).to(device))
        yield images_BCHW, torch.from_numpy(labels[rows]).to(device)
