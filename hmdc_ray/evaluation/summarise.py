"""The result of an evaluation, made from the outcomes of its trials."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.metadata import version

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig, MemberConfig, StudentConfig
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.evaluation.comparison import compare
from hmdc_ray.evaluation.images import Kind
from hmdc_ray.evaluation.in_pool import in_pool
from hmdc_ray.evaluation.outcome import Failure, Outcome
from hmdc_ray.evaluation.protocol import recipe
from hmdc_ray.evaluation.report import Evaluation, JudgedSet, Row, SetComparison, TrialOutcome, measured_summaries
from hmdc_ray.evaluation.scores import augmentation_robust_score, label_robust_score
from hmdc_ray.evaluation.sets import Sets, image_fingerprint, named_sets
from hmdc_ray.evaluation.statistics import Summary, summarise_values
from hmdc_ray.evaluation.trial import Trial
from hmdc_ray.models.precision import GpuFormat

Place = tuple[int, Kind, int, bool]
"""Trials that differ by seed alone: position of the student, images, number of the condensed set,
augmentation switched."""


def summarise(
    config: EvaluationConfig,
    trials: Sequence[Trial],
    results: Sequence[Outcome],
    *,
    condensed: Sets,
    info: DatasetInfo,
    run_seed: int,
    pool: Collection[MemberConfig] | None,
    gpu_format: GpuFormat | None,
) -> Evaluation:
    """Gather the trials' outcomes into an evaluation.

    Args:
        config: configuration that the trials were planned from.
        trials: all trials, as planned.
        results: accuracy or failure of each trial, in the order of ``trials``.
        condensed: the images that were judged.
        info: description of the data that students were tested on.
        run_seed: seed that the trials ran with.
        pool: members that the first set's images were learned with; None when unknown.
        gpu_format: format in which the students' GPUs multiplied; None: they were trained on CPUs.
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
        gpu_format=gpu_format,
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
    """The trials' outcomes by their place in the report."""

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
        # All seeds or none: students are compared seed by seed, and those that fail may be those
        # that would do worst.
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
    """Accuracies on a set by student, of those students that have accuracies on the other set
    too."""
    measured = measured_summaries(beside.summaries)
    return {student: each.values for student, each in measured_summaries(judged.summaries).items() if student in measured}
