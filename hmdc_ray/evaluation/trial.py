"""One trial of an evaluation, and the making and training of its student."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch import Tensor

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig, NetworkSection, StudentConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import DivergedError, InputError
from hmdc_ray.evaluation.distillation import Teacher
from hmdc_ray.evaluation.images import Kind, WholeSplit, training_images
from hmdc_ray.evaluation.protocol import Recipe, recipe
from hmdc_ray.evaluation.together import train_together
from hmdc_ray.evaluation.training import train_student
from hmdc_ray.models.network import Network
from hmdc_ray.models.normalisation import Normalisation
from hmdc_ray.models.registry import build_section
from hmdc_ray.models.shape import ImageShape
from hmdc_ray.seeding import Key

Role = Literal["student", "teacher"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One student to train.

    Attributes:
        kind: kind of the training images.
        student: configuration of the student.
        seed_index: number of the seed, from 0 to seeds - 1. A student starts from the same weights
            whatever the images.
        member_index: position of the student in the configuration.
        set_index: position of the condensed set; 0 for real images.
        switched: whether augmentation is switched: on where the configuration has none, off where
            it has.
        temperature: temperature of the distillation from a teacher; None: the student learns from
            labels alone.
    """

    kind: Kind
    student: StudentConfig
    seed_index: int
    member_index: int
    set_index: int = 0
    switched: bool = False
    temperature: float | None = None

    def described(self, run_seed: int, role: Role = "student") -> str:
        """The trial in words, for the start of an error message."""
        return f"{role} {self.student.name!r} on {self.kind} images, seed {self.seed_index} of run seed {run_seed}"


def trial_recipe(trial: Trial, config: EvaluationConfig) -> Recipe:
    """The recipe of the trial's student; CutMix may still be left out because of its network."""
    chosen = recipe(config, switched=trial.switched).for_student(trial.student)
    if trial.kind == "whole_data":
        assert config.whole_data_epochs is not None
        return replace(chosen, epochs=config.whole_data_epochs)
    return chosen


def make_teacher(config: EvaluationConfig, shape: ImageShape, classes: int, key: Key, space: Normalisation) -> Network:
    """The untrained network of the configured teacher, for images with the normalisation ``space``.

    Raises:
        InputError: the network does not exist or does not accept the images.
    """
    assert config.distillation is not None
    teacher = config.distillation.teacher
    try:
        return build_section(teacher, shape, classes, key, space)
    except InputError as error:
        raise InputError(f"evaluation.distillation.teacher: {error}") from error


def network_number(network: NetworkSection, *words: str) -> int:
    """A number for the ``member`` of a network's keys, from architecture, options and ``words``
    alone: its place in a list must not change its draws."""
    return zlib.crc32(" ".join([network.architecture, str(sorted(network.options.items())), *words]).encode())


@dataclass(frozen=True)
class StudentTrainer:
    """Makes and trains the students of one condensed set.

    Attributes:
        condensed: condensed set; its mean and std normalise real images too.
        dataset: the real data.
        config: configuration of the students' training.
        run_seed: the run's seed.
        device: device of the students, ``cpu`` or ``cuda``.
        threads: number of torch threads of a whole trial, at least 1; restored afterwards.
    """

    condensed: CondensedSet
    dataset: ImageDataset
    config: EvaluationConfig
    run_seed: int
    device: str = "cpu"
    threads: int = 1

    def key(self, student: StudentConfig, seed_index: int, role: Role = "student") -> Key:
        """Key of a student's draws; a teacher's is another one, so that no student of its
        architecture is its twin."""
        words = [word for word in (student.weights, role) if word not in ("scratch", "student")]
        return Key(self.run_seed, "student", member=network_number(student, *words), iteration=seed_index)

    def student(self, student: StudentConfig, seed_index: int) -> Network:
        """An untrained student, on the device.

        Raises:
            InputError: the network does not exist or does not accept the images.
        """
        classes, key = len(self.condensed.class_names), self.key(student, seed_index)
        return build_section(student, self.dataset.info.shape, classes, key, self.condensed.normalisation).to(self.device)

    def teacher(self, seed_index: int) -> Network:
        """The untrained teacher, on the device.

        Raises:
            InputError: the network does not exist or does not accept the images.
        """
        assert self.config.distillation is not None
        key = self.key(self.config.distillation.teacher, seed_index, "teacher")
        classes, space = len(self.condensed.class_names), self.condensed.normalisation
        return make_teacher(self.config, self.dataset.info.shape, classes, key, space).to(self.device)

    def train(
        self,
        network: Network,
        trial: Trial,
        rows: np.ndarray | None,
        teacher: Teacher | None = None,
        role: Role = "student",
    ) -> None:
        """Train the network of the trial's student in place.

        Args:
            network: untrained network, on the device.
            trial: the trial, which gives images and recipe.
            rows: rows of the training split for a baseline, int64 (N,), if already chosen.
            teacher: teacher of the student; None: it learns from labels alone.
            role: role of the network; a teacher draws with a key of its own, and errors name it as
                teacher.

        Raises:
            DivergedError: training diverged; names the student, the images and the seed.
        """
        images, labels_N = self._images(trial, rows)
        chosen = trial_recipe(trial, self.config).for_network(network)
        key = self.key(trial.student, trial.seed_index, role)
        try:
            train_student(network, images, labels_N, chosen, key, teacher)
        except FloatingPointError as error:
            raise self._diverged(trial, role, chosen, error) from error

    def train_together(
        self, networks: Sequence[Network], trials: Sequence[Trial], rows: Sequence[np.ndarray | None]
    ) -> list[DivergedError | None]:
        """Train the networks of several trials' students in place, from labels alone, each as
        :meth:`train` does but for rounding.

        Args:
            networks: untrained networks, on the device; see
                :func:`hmdc_ray.evaluation.together.train_together`.
            trials: their trials, which differ in images and seed only.
            rows: rows of the training split for each, as :meth:`train` takes them.

        Returns:
            For each the error that :meth:`train` would raise; None: it was trained.
        """
        chosen = trial_recipe(trials[0], self.config).for_network(networks[0])
        images = [self._images(trial, each) for trial, each in zip(trials, rows, strict=True)]
        keys = [self.key(trial.student, trial.seed_index) for trial in trials]
        found = train_together(networks, images, chosen, keys)
        return [
            None if error is None else self._diverged(trial, "student", chosen, error)
            for trial, error in zip(trials, found, strict=True)
        ]

    def _images(self, trial: Trial, rows: np.ndarray | None) -> tuple[Tensor | WholeSplit, Tensor]:
        """Training images and labels of a trial; ``rows`` (N,) of a baseline."""
        return training_images(
            trial.kind, trial.seed_index, self.condensed, self.dataset, self.run_seed, rows=rows, device=self.device
        )

    def _diverged(self, trial: Trial, role: Role, chosen: Recipe, error: FloatingPointError) -> DivergedError:
        field = f"evaluation.students.{trial.student.name}" if role == "student" else "evaluation.distillation.teacher"
        return DivergedError(
            f"{trial.described(self.run_seed, role)}: {error}; "
            f"training diverges at learning rate {chosen.learning_rate:g}, set {field}.learning_rate to a smaller one"
        )
