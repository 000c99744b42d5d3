"""The result of an evaluation, as it is kept in ``evaluation.json``."""

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
        architecture: the student's name: that of its architecture unless the configuration gives another.
        in_pool: whether this very network, architecture and options, took part in the condensation; None when unknown.
        condensed: on the condensed images; like every summary None where a student of one of the seeds failed.
        random: on as many random real images as are stored; None where left out.
        kmeans: on as many k-means real images as are stored; None where left out.
        options: of the architecture.
        weights: what the network started from: ``scratch``, ``pretrained``, or ``checkpoint:PATH``.
        statistics: mean and std with which images came to it: ``own``, those that its weights were trained with where they say
            so, or ``data``, the set's.
        learning_rate: at the start; None when unknown.
        random_count: on as many random real images as training images are decoded from the stored ones; the same as ``random``
            with formation 1; None where left out.
        kmeans_count: likewise for k-means.
        whole_data: on the whole training split, learned from labels alone; None where left out.
        condensed_switched: as ``condensed``, with augmentation where the recipe has none, without it where it has.
        random_switched: as ``random``, likewise.
        label_robust_score: DD-Ranking's, see :mod:`hmdc_ray.evaluation.scores`; None without ``random`` or ``whole_data``, and
            for students that do not learn from labels alone.
        augmentation_robust_score: DD-Ranking's; None where left out.
        temperatures: by kind of images, that of the distillation; None without a teacher.
        problem: why a summary is missing that was asked for, a line; empty where nothing failed.
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
        student: its name.
        images: that it was trained on.
        set_index: position of the condensed set that these are or are held against.
        switched: with augmentation where the recipe has none, without it where it has.
        seed_index: from 0.
        accuracy: None where it failed.
        temperature: of the distillation; None without a teacher, or where it could not be chosen.
        problem: why it failed, a line; else empty.
        traceback: of an error in a program, such as a user's network; else empty.
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
        name: that tells it from the others.
        fingerprint: of its images and labels; see :func:`hmdc_ray.evaluation.sets.image_fingerprint`.
        ipc: stored images per class.
        formation: training images in a stored one are formation squared.
        data_fingerprint: of the data that it was learned from; None when unknown.
        summaries: by name of the student, accuracies in the order of seeds; None where a student of one of the seeds failed.
        temperatures: by name of the student, that of the distillation; None without a teacher.
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
    """A condensed set against the first.

    Attributes:
        first: name of the first set.
        second: name of the other one.
        architectures: one comparison for each student that has accuracies on both, the difference being second - first.
    """

    first: str
    second: str
    architectures: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All that ``evaluation.json`` holds, under the same names; accuracies are fractions in [0, 1].

    A :class:`Summary` is an object ``{mean, std, low, high, values}``: low and high the 95 % interval, values in the order of
    seeds. A :class:`Row`, a :class:`JudgedSet`, a :class:`SetComparison` and a :class:`Recipe` are objects with the names of
    their attributes, null for None.

    Attributes:
        rows: one per student, in the order of the configuration; they describe the first set.
        protocol: name of the training recipe.
        split: of the data, on which accuracy was measured.
        epochs: E of the recipe.
        augmentation: whether training images were varied.
        seeds: students per architecture and kind of images.
        run_seed: from which all draws are derived.
        ipc: stored images per class of the first set, and of the real images that are fair in storage.
        formation: of the first set; training images in a condensed one are formation squared.
        mean: per channel, that all images were normalised with; of the first set.
        std: likewise.
        data_source: the data tested on.
        data_fingerprint: of the data tested on.
        condensed_fingerprint: of the data that the first set's images were learned from; None when unknown.
        version: of this package.
        sets: every condensed set, the first one too.
        comparison: every other set against the first; empty with one set or one seed, which tells nothing about spread.
        recipe: the students' training in full; None when unknown. A student's own learning rate is in its row.
        distillation: teacher, alpha and temperatures to choose from; None without a teacher.
        trials: every student that was trained, or failed.
        gpu_format: format in which the students' GPUs multiplied float32, ``tf32`` or ``ieee``, by
            ``matching.precision``; None on CPUs.
        schema_version: of this layout; keys may be added without a new one.
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
        """For those who need every accuracy.

        Raises:
            StudentError: a student failed; says why.
        """
        for trial in self.failed:
            raise StudentError(trial.problem)

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"

    def write(self, path: Path) -> None:
        """Write the file whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        with atomic_path(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")


def measured_summaries(summaries: Mapping[str, Summary | None]) -> dict[str, Summary]:
    """Those that there are."""
    return {name: summary for name, summary in summaries.items() if summary is not None}
