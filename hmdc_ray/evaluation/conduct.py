"""An evaluation from start to end: the tasks that run, the work that they share, and the results
that are reused.

1. The trials are planned. 2. With several temperatures each is tried on validation data, and one is
chosen. 3. The trials run on the configured split. Real images are chosen once for each kind and
seed, teachers are trained once for each set of images and seed, and accuracies on real images that
an earlier evaluation measured are reused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig, MemberConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset, open_dataset
from hmdc_ray.data.schema import DatasetInfo, Split
from hmdc_ray.evaluation.cache import BaselineCache
from hmdc_ray.evaluation.device import student_device, student_format, student_threads
from hmdc_ray.evaluation.earlier import Earlier
from hmdc_ray.evaluation.grouping import groups, most_images
from hmdc_ray.evaluation.images import BASELINES, Kind, chosen_rows
from hmdc_ray.evaluation.mnist import with_mnist
from hmdc_ray.evaluation.outcome import Failure, Outcome, attempt
from hmdc_ray.evaluation.plan import State, plan, run_trial, run_trials, train_teacher
from hmdc_ray.evaluation.pretrained_bound import require_stored, stored_accuracy, stored_network
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.sets import Sets, check_all_fit, named_sets, with_families
from hmdc_ray.evaluation.summarise import summarise
from hmdc_ray.evaluation.temperature import candidates, group, is_distilled, require_validation, undecided, with_temperatures
from hmdc_ray.evaluation.trial import StudentTrainer, Trial, make_teacher
from hmdc_ray.seeding import Key

_logger = logging.getLogger(__name__)

Handle = Any
"""Reference to a value that exists or will exist somewhere."""


class Executor(Protocol):
    """Runs functions as tasks, such as :class:`hmdc_ray.actors.evaluation.RayTasks`."""

    def put(self, value: Any) -> Handle:
        """A handle on a value that many tasks take."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Handle:
        """Schedule ``function(*arguments)``; handles among the arguments are replaced by their
        values."""

    def completed(self, handles: Sequence[Handle]) -> Iterator[tuple[int, Any]]:
        """Position and value of every handle, as tasks end; raises the error of the first task that
        fails.

        See :func:`hmdc_ray.evaluation.outcome.attempt` for tasks that return a failure instead.
        """


def conduct(
    condensed: Sets,
    config: RunConfig,
    *,
    pool: Collection[MemberConfig] | None,
    executor: Executor,
    progress: Callable[[int, int], None],
    earlier: Earlier | None = None,
) -> Evaluation:
    """Train and test all students of ``config.evaluation``; one that fails does not end the others.

    Args:
        condensed: the images to judge; of several sets the first is compared with real images.
        config: the data, the evaluation, the seed and the threads.
        pool: members that the first set's images were learned with; None when unknown.
        executor: executor of the tasks.
        progress: called with the number of trials done and of all.
        earlier: an unfinished record of this evaluation; only what failed in it is repeated.

    Raises:
        InputError: images and data do not fit together, a teacher cannot be built, or ``earlier``
            is another evaluation.
        RunError: a process died.
    """
    sets = named_sets(condensed)
    first = next(iter(sets.values()))
    info = open_dataset(config.data).info
    check_all_fit(sets, info)
    settings = with_mnist(with_families(config.evaluation, first), first.normalisation, info.normalisation)
    config = config.model_copy(update={"evaluation": settings})
    require_validation(settings, info)
    if settings.whole_data is not None:
        folder = Path(settings.whole_data).expanduser()
        require_stored(folder, info.fingerprint)
        for student in settings.students:
            stored_network(student, folder, info)
    if settings.distillation is not None:
        make_teacher(settings, info.shape, len(info.class_names), Key(0, "student"), first.normalisation)
    planned = plan(settings, formation=first.formation, sets=len(sets))

    def evaluation_of(trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> Evaluation:
        return summarise(
            settings,
            trials,
            outcomes,
            condensed=sets,
            info=info,
            run_seed=config.seed,
            pool=pool,
            gpu_format=student_format(config),
        )

    known, chosen = ({}, {}) if earlier is None else earlier.reusable(planned, evaluation_of)
    missing = [position for position in range(len(planned)) if position not in known]
    tried = candidates(settings, [planned[position] for position in missing if group(planned[position]) not in chosen])
    course = _Course(sets, config, info, executor, progress, len(tried) + len(missing))
    outcomes = course.run(tried, "validation")
    trials = with_temperatures(settings, planned, tried, outcomes, chosen)
    results: dict[int, Outcome] = dict(known)
    blocked = undecided(tried, outcomes)
    for position in missing:
        if is_distilled(trials[position]) and group(trials[position]) in blocked:
            results[position] = blocked[group(trials[position])]
            course.advance()
    left = [position for position in missing if position not in results]
    results |= zip(left, course.run([trials[position] for position in left], settings.split), strict=True)
    return evaluation_of(trials, [results[position] for position in range(len(trials))])


def planned_tasks(sets: Mapping[str, CondensedSet], config: RunConfig) -> list[list[int]]:
    """Positions of the trials of each task of an evaluation of which nothing is known yet, without
    teachers and the choices of real images.

    Args:
        sets: condensed sets to judge.
        config: the data, the evaluation and the seed.
    """
    first, dataset = next(iter(sets.values())), _dataset(config.data.model_dump_json())
    settings = with_mnist(with_families(config.evaluation, first), first.normalisation, dataset.info.normalisation)
    trainer = StudentTrainer(first, dataset, settings, config.seed)
    return groups(plan(settings, formation=first.formation, sets=len(sets)), trainer, most_images(sets.values()))


class _Course:
    """The tasks of an evaluation, with those that several trials share."""

    def __init__(
        self,
        sets: Mapping[str, CondensedSet],
        config: RunConfig,
        info: DatasetInfo,
        executor: Executor,
        progress: Callable[[int, int], None],
        total: int,
    ) -> None:
        self._config = config
        self._executor = executor
        self._progress = progress
        first = next(iter(sets.values()))
        self._cache = BaselineCache(config, first, info)
        self._trainer = _trainer(first, config, config.evaluation.split)
        self._images = most_images(sets.values())
        self._sets = [executor.put(condensed) for condensed in sets.values()]
        self._rows: dict[tuple[Kind, int], Handle] = {}
        self._teachers: dict[tuple[Kind, int, int], Handle] = {}
        self._done, self._total = 0, total
        progress(0, total)

    def run(self, trials: Sequence[Trial], split: Split) -> list[Outcome]:
        """Accuracy of each trial on the split, or the failure."""
        results: dict[int, Outcome] = {}
        for position, trial in enumerate(trials):
            known = self._cache.get(trial, split)
            if known is not None:
                results[position] = known
                self.advance()
        missing = [position for position in range(len(trials)) if position not in results]
        grouped = groups([trials[position] for position in missing], self._trainer, self._images)
        together = [[missing[place] for place in places] for places in grouped]
        handles = [self._submit([trials[position] for position in positions], split) for positions in together]
        for index, outcomes in self._executor.completed(handles):
            for position, outcome in zip(together[index], outcomes, strict=True):
                results[position] = outcome
                if not isinstance(outcome, Failure):
                    self._cache.put(trials[position], split, outcome)
                self.advance()
        return [results[position] for position in range(len(trials))]

    def advance(self) -> None:
        """Count a trial as done."""
        self._done += 1
        self._progress(self._done, self._total)

    def _submit(self, trials: Sequence[Trial], split: Split) -> Handle:
        """A task that gives the outcomes of a group of trials."""
        first, *others = trials
        if first.kind == "whole_data" and self._config.evaluation.whole_data is not None:
            return self._executor.submit(_alone, self._config.seed, _measure_stored, first, split, self._config)
        condensed = self._sets[first.set_index]
        rows = [self._chosen(trial) if trial.kind in BASELINES else None for trial in trials]
        if others:
            return self._executor.submit(_measure_together, trials, split, condensed, self._config, *rows)
        teacher = None if first.temperature is None else self._taught(first, rows[0])
        given = first, split, condensed, self._config, rows[0], teacher
        return self._executor.submit(_alone, self._config.seed, _measure, *given)

    def _chosen(self, trial: Trial) -> Handle:
        place = (trial.kind, trial.seed_index)
        if place not in self._rows:
            what = f"{trial.kind} real images, seed {trial.seed_index} of run seed {self._config.seed}"
            self._rows[place] = self._executor.submit(attempt, what, _choose, *place, self._sets[0], self._config)
        return self._rows[place]

    def _taught(self, trial: Trial, rows: Handle | None) -> Handle:
        place = (trial.kind, trial.seed_index, trial.set_index)
        if place not in self._teachers:
            condensed, distillation = self._sets[trial.set_index], self._config.evaluation.distillation
            assert distillation is not None
            what = replace(trial, student=distillation.teacher).described(self._config.seed, "teacher")
            self._teachers[place] = self._executor.submit(attempt, what, _teach, trial, condensed, self._config, rows)
        return self._teachers[place]


# Tasks


@lru_cache(maxsize=1)
def _dataset(config: str) -> ImageDataset:
    """The data, opened once per process; the key is the configuration as JSON, because it must be
    hashable."""
    return open_dataset(DataConfig.model_validate_json(config))


def _trainer(condensed: CondensedSet, config: RunConfig, split: Split) -> StudentTrainer:
    dataset, settings = _dataset(config.data.model_dump_json()), config.evaluation.model_copy(update={"split": split})
    return StudentTrainer(condensed, dataset, settings, config.seed, student_device(config), student_threads(config))


def _choose(kind: Kind, seed_index: int, condensed: CondensedSet, config: RunConfig) -> np.ndarray:
    """Rows of the training split for a baseline, int64 (N,)."""
    return chosen_rows(kind, seed_index, condensed, _dataset(config.data.model_dump_json()), config.seed)


def _teach(trial: Trial, condensed: CondensedSet, config: RunConfig, rows: np.ndarray | None) -> State:
    """The trained teacher of a trial; ``rows`` (N,) of a baseline."""
    return train_teacher(trial, _trainer(condensed, config, config.evaluation.split), rows=rows)


def _alone(seed: int, measure: Callable[..., float], trial: Trial, *arguments: Any) -> list[Outcome]:
    """The outcome of a trial by itself."""
    return [attempt(trial.described(seed), measure, trial, *arguments)]


def _measure_together(
    trials: Sequence[Trial], split: Split, condensed: CondensedSet, config: RunConfig, *rows: np.ndarray | Failure | None
) -> list[Outcome]:
    """The outcomes of a group of trials; ``rows`` of each."""
    found: dict[int, Outcome] = {place: given for place, given in enumerate(rows) if isinstance(given, Failure)}
    left = [place for place in range(len(trials)) if place not in found]
    given = [each for each in rows if not isinstance(each, Failure)]
    try:
        trainer = _trainer(condensed, config, split)
        measured = run_trials([trials[place] for place in left], trainer, given) if left else []
        found |= {
            place: value if isinstance(value, float) else Failure(str(value))
            for place, value in zip(left, measured, strict=True)
        }
    except Exception:  # each by itself, which tells whose error it is
        _logger.warning("%s students are trained one by one", trials[0].student.name, exc_info=True)
        for place in left:
            (found[place],) = _alone(config.seed, _measure, trials[place], split, condensed, config, rows[place], None)
    return [found[place] for place in range(len(trials))]


def _measure_stored(trial: Trial, split: Split, config: RunConfig) -> float:
    assert config.evaluation.whole_data is not None
    folder, dataset = Path(config.evaluation.whole_data).expanduser(), _dataset(config.data.model_dump_json())
    return stored_accuracy(
        trial.student, folder, dataset, split, threads=student_threads(config), device=student_device(config)
    )


def _measure(
    trial: Trial, split: Split, condensed: CondensedSet, config: RunConfig, rows: np.ndarray | None, teacher: State | None
) -> float:
    """The accuracy of a trial; ``rows`` (N,) of a baseline."""
    return run_trial(trial, _trainer(condensed, config, split), rows=rows, teacher=teacher)
