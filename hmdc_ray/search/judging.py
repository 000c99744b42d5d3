"""How a trial's images are judged: in the trial's own process, on validation data, with nothing
else in reach."""

from __future__ import annotations

from collections.abc import Sequence

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import RunConfig
from hmdc_ray.errors import InputError, RunError, StudentError, first_line
from hmdc_ray.evaluation.device import student_format, student_threads
from hmdc_ray.evaluation.grouping import groups, most_images
from hmdc_ray.evaluation.mnist import with_mnist
from hmdc_ray.evaluation.plan import plan, run_trial, run_trials
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.sets import with_families
from hmdc_ray.evaluation.summarise import summarise
from hmdc_ray.evaluation.temperature import candidates, with_temperatures
from hmdc_ray.evaluation.trial import StudentTrainer, Trial
from hmdc_ray.search.without_test_split import WithoutTest


def judge(condensed: CondensedSet, config: RunConfig, dataset: WithoutTest, device: str) -> Evaluation:
    """Evaluate on validation data; the accuracies are those that a run with
    ``evaluation.split=validation`` ends with.

    No student is trained on real images: they are the same for every trial.

    Args:
        condensed: the images, which carry the configuration that they were learned with.
        config: the students and their recipe, with ``evaluation.split`` validation.
        dataset: the real data.
        device: device of the students, ``cpu`` or ``cuda``.

    Raises:
        DivergedError: a student's training diverged.
        StudentError: a student failed in another way.
    """
    assert config.evaluation.split == "validation", config.evaluation.split
    alone = {"baselines": "none", "whole_data_epochs": None, "whole_data": None, "augmentation_robust": False}
    families = with_families(config.evaluation, condensed)
    settings = with_mnist(families, condensed.normalisation, dataset.info.normalisation).model_copy(update=alone)
    trainer = StudentTrainer(condensed, dataset, settings, config.seed, device, student_threads(config))

    def measured(trials: Sequence[Trial]) -> list[float]:
        found: dict[int, float] = {}
        for places in groups(trials, trainer, most_images([condensed])):
            found |= zip(places, _accuracies([trials[place] for place in places], trainer), strict=True)
        return [found[place] for place in range(len(trials))]

    planned = plan(settings, formation=condensed.formation)
    tried = candidates(settings, planned)
    trials = with_temperatures(settings, planned, tried, measured(tried))
    return summarise(
        settings,
        trials,
        measured(trials),
        condensed=condensed,
        info=dataset.info,
        run_seed=config.seed,
        pool=config.pool.members,
        gpu_format=student_format(config),
    )


def _accuracies(trials: Sequence[Trial], trainer: StudentTrainer) -> list[float]:
    """Accuracies of a group of trials."""
    try:
        if len(trials) == 1:
            return [run_trial(trials[0], trainer)]
        found: list[float] = []
        for value in run_trials(trials, trainer, [None] * len(trials)):
            if isinstance(value, RunError):
                raise value
            found.append(value)
        return found
    except (InputError, RunError):
        raise
    except Exception as error:
        what = trials[0].described(trainer.run_seed)
        raise StudentError(f"{what}: {type(error).__name__}: {first_line(error)}") from error


def accuracies(evaluation: Evaluation) -> dict[str, float]:
    """Mean accuracy by student, in [0, 1].

    Raises:
        StudentError: a student failed.
    """
    evaluation.require_complete()
    return {row.architecture: row.condensed.mean for row in evaluation.rows if row.condensed is not None}


def mean_accuracy(evaluation: Evaluation) -> float:
    """Mean over the students of their mean accuracies, as in the last line of an evaluation's
    table."""
    means = list(accuracies(evaluation).values())
    return sum(means) / len(means)


def worst(evaluation: Evaluation) -> tuple[str, float]:
    """Name and mean accuracy of the student with the lowest accuracy."""
    return min(accuracies(evaluation).items(), key=lambda pair: pair[1])
