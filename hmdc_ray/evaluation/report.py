"""The result of an evaluation, as stored in ``evaluation.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hmdc_ray.config import Options
from hmdc_ray.errors import StudentError
from hmdc_ray.evaluation.comparison import Comparison
from hmdc_ray.evaluation.images import Kind
from hmdc_ray.evaluation.protocol import Recipe
from hmdc_ray.evaluation.statistics import Summary
from hmdc_ray.models.precision import GpuFormat
from hmdc_ray.system.files import atomic_path

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One student's accuracies, on the first condensed set and on real images.

    Attributes:
        architecture: name of the student: that of its architecture unless the configuration gives
            another.
        in_pool: whether this very network, architecture and options, took part in the condensation;
            None when unknown.
        condensed: accuracies on the condensed images; like every summary None where a student of
            one of the seeds failed.
        random: accuracies on as many random real images as are stored; None where left out.
        kmeans: accuracies on as many k-means real images as are stored; None where left out.
        options: options of the architecture.
        weights: origin of the first weights: ``scratch``, ``pretrained``, or ``checkpoint:PATH``.
        statistics: mean and std of the student's input: ``own``, those that its weights were
            trained with where known, or ``data``, the set's.
        learning_rate: initial learning rate; None when unknown.
        random_count: accuracies on as many random real images as training images are decoded from
            the stored ones; equal to ``random`` with formation 1; None where left out.
        kmeans_count: accuracies on as many k-means real images; otherwise as ``random_count``.
        whole_data: accuracies on the whole training split, learned from labels alone; None where
            left out.
        condensed_switched: accuracies on the condensed images with augmentation switched: on where
            the recipe has none, off where it has.
        random_switched: accuracies on random real images with augmentation switched in the same
            way.
        label_robust_score: DD-Ranking's score, see :mod:`hmdc_ray.evaluation.scores`; None without
            ``random`` or ``whole_data``, and for students that do not learn from labels alone.
        augmentation_robust_score: DD-Ranking's score; None where left out.
        temperatures: temperature of the distillation by kind of images; None without a teacher.
        problem: one line on why a summary that was asked for is missing; empty where nothing
            failed.
    """

    architecture: str
    in_pool: bool | None
    condensed: Summary | None
    random: Summary | None
    kmeans: Summary | None
    options: Options
    weights: str = "scratch"
    statistics: str = "own"
    learning_rate: float | None = None
    random_count: Summary | None = None
    kmeans_count: Summary | None = None
    whole_data: Summary | None = None
    condensed_switched: Summary | None = None
    random_switched: Summary | None = None
    label_robust_score: float | None = None
    augmentation_robust_score: float | None = None
    temperatures: dict[str, float] | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """One student that was trained, or was to be.

    Attributes:
        student: name of the student.
        images: kind of its training images.
        set_index: position of the condensed set; 0 for real images.
        switched: whether augmentation was switched: on where the recipe has none, off where it has.
        seed_index: number of the seed, from 0.
        accuracy: accuracy in [0, 1]; None where the training failed.
        temperature: temperature of the distillation; None without a teacher, or where it could not
            be chosen.
        problem: one line on why the training failed; else empty.
        traceback: traceback of an error in a program, such as a user's network; else empty.
    """

    student: str
    images: Kind
    set_index: int
    switched: bool
    seed_index: int
    accuracy: float | None
    temperature: float | None = None
    problem: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """One condensed set.

    Attributes:
        name: name of the set, different from the others'.
        fingerprint: fingerprint of images and labels; see
            :func:`hmdc_ray.evaluation.sets.image_fingerprint`.
        ipc: stored images per class.
        formation: formation factor; a stored image decodes to formation squared training images.
        data_fingerprint: fingerprint of the data that the set was learned from; None when unknown.
        summaries: accuracies by name of the student; None where a student of one of the seeds
            failed.
        temperatures: temperature of the distillation by name of the student; None without a
            teacher.
    """

    name: str
    fingerprint: str
    ipc: int
    formation: int
    data_fingerprint: str | None
    summaries: Mapping[str, Summary | None]
    temperatures: dict[str, float] | None


@dataclass(frozen=True, slots=True)
class SetComparison:
    """The comparison of a condensed set with the first one.

    Attributes:
        first: name of the first set.
        second: name of the other set.
        architectures: one comparison, second - first, for each student that has accuracies on both
            sets.
    """

    first: str
    second: str
    architectures: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All that ``evaluation.json`` holds, under the same names; accuracies are fractions in [0, 1].

    A :class:`Summary` is an object ``{mean, std, low, high, values}``: low and high the 95 %
    interval, values in the order of seeds. A :class:`Row`, a :class:`JudgedSet`, a
    :class:`SetComparison` and a :class:`Recipe` are objects with the names of their attributes,
    null for None.

    Attributes:
        rows: one per student, in the order of the configuration; they describe the first set.
        protocol: name of the training recipe.
        split: split of the data on which accuracy was measured.
        epochs: number of epochs E of the recipe.
        augmentation: whether training images were augmented.
        seeds: number of students per architecture and kind of images.
        run_seed: seed of all draws.
        ipc: stored images per class of the first set, and real images per class of the baselines
            that are fair in storage.
        formation: formation factor of the first set; a stored image decodes to formation squared
            training images.
        mean: mean per channel of the first set, by which all images were normalised.
        std: standard deviation per channel of the first set, by which all images were normalised.
        data_source: source of the data tested on.
        data_fingerprint: fingerprint of the data tested on.
        condensed_fingerprint: fingerprint of the data that the first set was learned from; None
            when unknown.
        version: version of this package.
        sets: every condensed set, including the first.
        comparison: comparisons of every other set with the first; empty with one set or one seed,
            which shows no spread.
        recipe: recipe of the students' training; None when unknown. A student's own learning rate
            is in its row.
        distillation: teacher, alpha and temperatures to choose from; None without a teacher.
        trials: outcome of every student's training.
        gpu_format: format in which the students' GPUs multiplied float32, ``tf32`` or ``ieee``, by
            ``matching.precision``; None on CPUs.
        schema_version: version of this layout; keys may be added without a new one.
    """

    rows: tuple[Row, ...]
    protocol: str
    split: str
    epochs: int
    augmentation: bool
    seeds: int
    run_seed: int
    ipc: int
    formation: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data_source: str
    data_fingerprint: str
    condensed_fingerprint: str | None
    version: str
    sets: tuple[JudgedSet, ...] = ()
    comparison: tuple[SetComparison, ...] = ()
    recipe: Recipe | None = None
    distillation: dict[str, Any] | None = None
    trials: tuple[TrialOutcome, ...] = ()
    gpu_format: GpuFormat | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def failed(self) -> tuple[TrialOutcome, ...]:
        """The trials without an accuracy."""
        return tuple(trial for trial in self.trials if trial.accuracy is None)

    def require_complete(self) -> None:
        """Refuse an evaluation in which an accuracy is missing.

        Raises:
            StudentError: a student failed; gives the reason.
        """
        for trial in self.failed:
            raise StudentError(trial.problem)

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"

    def write(self, path: Path) -> None:
        """Write the file atomically.

        Raises:
            InputError: the file cannot be written.
        """
        with atomic_path(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")


def measured_summaries(summaries: Mapping[str, Summary | None]) -> dict[str, Summary]:
    """The summaries that are not None."""
    return {name: summary for name, summary in summaries.items() if summary is not None}
