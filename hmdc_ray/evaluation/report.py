"""The result of an evaluation, as it is kept in ``evaluation.json``."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig, MemberConfig, Options, StudentConfig
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import StudentError
from hmdc_ray.evaluation.comparison import Comparison, compare
from hmdc_ray.evaluation.images import Kind
from hmdc_ray.evaluation.membership import in_pool
from hmdc_ray.evaluation.outcome import Failure, Outcome
from hmdc_ray.evaluation.protocol import Recipe, recipe
from hmdc_ray.evaluation.scores import augmentation_robust_score, label_robust_score
from hmdc_ray.evaluation.sets import Sets, image_fingerprint, named_sets
from hmdc_ray.evaluation.statistics import Summary, summarise_values
from hmdc_ray.evaluation.trial import Trial
from hmdc_ray.files import atomic_path

SCHEMA_VERSION = 1

Place = tuple[int, Kind, int, bool]
"""Trials that differ by seed alone: position of the student, images, number of the condensed set, augmentation switched."""


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


def summarise(
    config: EvaluationConfig,
    trials: Sequence[Trial],
    results: Sequence[Outcome],
    *,
    condensed: Sets,
    info: DatasetInfo,
    run_seed: int,
    pool: Collection[MemberConfig] | None,
) -> Evaluation:
    """Gather the trials' outcomes into an evaluation.

    Args:
        config: that the trials were planned from.
        trials: all of them, as planned.
        results: accuracy of each trial, or why it failed, in the same order, whatever the order in which they ended.
        condensed: the images that were judged.
        info: of the data that they were tested on.
        run_seed: that the trials ran with.
        pool: the members that the first set's images were learned with; None when unknown.
    """
    sets = named_sets(condensed)
    first = next(iter(sets.values()))
    measured = _Measured(config, trials, results)
    judged = tuple(measured.judged(index, name, each) for index, (name, each) in enumerate(sets.items()))
    used = recipe(config)
    return Evaluation(
        rows=tuple(measured.row(index, student, pool, first.formation) for index, student in enumerate(config.students)),
        protocol=config.protocol,
        split=config.split,
        epochs=used.epochs,
        augmentation=used.variation != "none",
        seeds=config.seeds,
        run_seed=run_seed,
        ipc=first.ipc,
        formation=first.formation,
        mean=first.mean,
        std=first.std,
        data_source=info.source,
        data_fingerprint=info.fingerprint,
        condensed_fingerprint=first.fingerprint,
        version=version("hmdc-ray"),
        sets=judged,
        comparison=_comparison(judged) if config.seeds > 1 else (),
        recipe=used,
        distillation=None if config.distillation is None else config.distillation.model_dump(mode="json"),
        trials=tuple(map(_trial_outcome, trials, results)),
    )


def _trial_outcome(trial: Trial, result: Outcome) -> TrialOutcome:
    failure = result if isinstance(result, Failure) else Failure("")
    return TrialOutcome(
        student=trial.student.name,
        images=trial.kind,
        set_index=trial.set_index,
        switched=trial.switched,
        seed_index=trial.seed_index,
        accuracy=None if isinstance(result, Failure) else result,
        temperature=trial.temperature,
        problem=failure.reason,
        traceback=failure.traceback,
    )


class _Measured:
    """What the trials gave, by their place in the report."""

    def __init__(self, config: EvaluationConfig, trials: Sequence[Trial], results: Sequence[Outcome]) -> None:
        self._config = config
        values: dict[Place, list[float]] = {}
        failures: dict[Place, list[Failure]] = {}
        self._temperatures: dict[Place, float] = {}
        for trial, result in zip(trials, results, strict=True):
            place = (trial.member_index, trial.kind, trial.set_index, trial.switched)
            if isinstance(result, Failure):
                failures.setdefault(place, []).append(result)
            else:
                values.setdefault(place, []).append(result)
            if trial.temperature is not None:
                self._temperatures[place] = trial.temperature
        # Of all seeds or none: students are compared seed by seed, and those that fail may be those that would do worst.
        complete = {place: accuracies for place, accuracies in values.items() if place not in failures}
        self._summaries = {place: summarise_values(accuracies) for place, accuracies in complete.items()}
        self._failures = failures

    def row(self, index: int, student: StudentConfig, pool: Collection[MemberConfig] | None, formation: int) -> Row:
        """The row of a student."""

        def of(kind: Kind, switched: bool = False) -> Summary | None:
            return self._summaries.get((index, kind, 0, switched))

        same = formation == 1 and self._config.count_fair  # as many images, chosen in the same way: the same students
        condensed, random, whole = of("condensed"), of("random"), of("whole_data")
        distilled = self._config.distillation is not None
        return Row(
            architecture=student.name,
            in_pool=None if pool is None else in_pool(student, pool),
            condensed=condensed,
            random=random,
            kmeans=of("kmeans"),
            options=student.options,
            weights=student.weights,
            statistics=student.statistics,
            learning_rate=recipe(self._config).for_student(student).learning_rate,
            random_count=random if same else of("random_count"),
            kmeans_count=of("kmeans") if same else of("kmeans_count"),
            whole_data=whole,
            condensed_switched=of("condensed", True),
            random_switched=of("random", True),
            label_robust_score=(
                None
                if whole is None or random is None or condensed is None or distilled
                else label_robust_score(whole.mean, condensed.mean, random.mean)
            ),
            augmentation_robust_score=self._augmentation_robust_score(index),
            temperatures=self._row_temperatures(index) if distilled else None,
            problem=self._problem(index),
        )

    def judged(self, index: int, name: str, condensed: CondensedSet) -> JudgedSet:
        """The entry of a condensed set."""
        places: dict[str, Place] = {
            student.name: (member, "condensed", index, False) for member, student in enumerate(self._config.students)
        }
        distilled = self._config.distillation is not None
        return JudgedSet(
            name=name,
            fingerprint=image_fingerprint(condensed),
            ipc=condensed.ipc,
            formation=condensed.formation,
            data_fingerprint=condensed.fingerprint,
            summaries={student: self._summaries.get(place) for student, place in places.items()},
            temperatures=(
                {student: self._temperatures[place] for student, place in places.items() if place in self._temperatures}
                if distilled
                else None
            ),
        )

    def _problem(self, index: int) -> str:
        reasons = [failure.reason for place, found in self._failures.items() if place[0] == index for failure in found]
        others = len(reasons) - 1
        return "" if not reasons else reasons[0] + (f" ({others} more of its trainings failed)" if others else "")

    def _row_temperatures(self, index: int) -> dict[str, float]:
        return {
            kind: value for (member, kind, number, _), value in self._temperatures.items() if (member, number) == (index, 0)
        }

    def _augmentation_robust_score(self, index: int) -> float | None:
        if not self._config.augmentation_robust:
            return None
        plain = recipe(self._config).variation != "none"  # whether it is the switched trials that are plain
        kinds: tuple[Kind, ...] = ("condensed", "random")
        places: list[Place] = [(index, kind, 0, switched) for kind in kinds for switched in (False, True)]
        if any(place not in self._summaries for place in places):
            return None
        means = {(kind, switched != plain): self._summaries[index, kind, n, switched].mean for _, kind, n, switched in places}
        return augmentation_robust_score(
            condensed_augmented=means["condensed", True],
            random_augmented=means["random", True],
            condensed_plain=means["condensed", False],
            random_plain=means["random", False],
        )


def _comparison(sets: Sequence[JudgedSet]) -> tuple[SetComparison, ...]:
    first = sets[0]
    return tuple(
        SetComparison(first.name, other.name, compare(_values(first, other), _values(other, first))) for other in sets[1:]
    )


def _values(judged: JudgedSet, beside: JudgedSet) -> dict[str, Sequence[float]]:
    """Accuracies on a set, of the students that have some on the other too."""
    measured = measured_summaries(beside.summaries)
    return {student: each.values for student, each in measured_summaries(judged.summaries).items() if student in measured}


def measured_summaries(summaries: Mapping[str, Summary | None]) -> dict[str, Summary]:
    """Those that there are."""
    return {name: summary for name, summary in summaries.items() if summary is not None}
