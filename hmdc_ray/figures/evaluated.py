"""Figures of an evaluation: what it holds, brought into the form that the drawings take."""

from __future__ import annotations

from matplotlib.figure import Figure

from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.statistics import Summary
from hmdc_ray.figures.bars import bars, gain
from hmdc_ray.figures.canvas import shortened
from hmdc_ray.figures.matrix import matrix


def accuracy_matrix(evaluation: Evaluation) -> Figure:
    """Draw accuracies by images and architecture as a heat map with numbers, mean ± half the 95 % interval.

    One row per condensed set; with one set, rows for random real, k-means real (where measured) and condensed images.
    """
    if len(evaluation.sets) > 1:
        rows = [(entry.name, entry.summaries) for entry in evaluation.sets]
    else:
        rows = [(name, made) for name, made in _kinds(evaluation).items() if made]
    title = f"Accuracy on the {evaluation.split} split in %\n{_seeds(evaluation, 'mean ± half the 95 % interval')}"
    return matrix(rows, *_in_pool(evaluation), title=title)


def gains(evaluation: Evaluation) -> Figure:
    """Draw the gain over random real images per architecture as bars with 95 % intervals, paired by seed.

    One bar per condensed set with as many images per class as the random ones, which are those of the first set; with one
    set, also the gain of k-means real images where measured.

    Raises:
        InputError: the evaluation has no random real images.
    """
    kinds = _kinds(evaluation)
    random = kinds["random"]
    if not random:
        raise InputError("baselines of the evaluation have no random real images: must be random or both to show gains")
    if len(evaluation.sets) > 1:
        compared = [(entry.name, entry.summaries) for entry in evaluation.sets if entry.ipc == evaluation.ipc]
    else:
        compared = [(name, kinds[name]) for name in ("k-means", "condensed") if kinds[name]]
    series = [(name, {place: gain(made[place], random[place]) for place in made if place in random}) for name, made in compared]
    title = f"Gain over random real images of the same number\n{_seeds(evaluation, 'mean and 95 % interval')}"
    return bars(series, *_in_pool(evaluation), title=title, axis=f"accuracy on the {evaluation.split} split, points")


def _kinds(evaluation: Evaluation) -> dict[str, dict[str, Summary]]:
    return {
        "random": {row.architecture: row.random for row in evaluation.rows if row.random is not None},
        "k-means": {row.architecture: row.kmeans for row in evaluation.rows if row.kmeans is not None},
        "condensed": {row.architecture: row.condensed for row in evaluation.rows},
    }


def _in_pool(evaluation: Evaluation) -> tuple[set[str], str]:
    """The architectures to mark, and what the mark says: what rows tell of the pool is about the first set."""
    pool = f"the pool of {shortened(evaluation.sets[0].name)}" if len(evaluation.sets) > 1 else "the pool"
    return {row.architecture for row in evaluation.rows if row.in_pool}, f"in {pool}"


def _seeds(evaluation: Evaluation, interval: str) -> str:
    return f"{interval} of {evaluation.seeds} seeds" if evaluation.seeds > 1 else "one seed"
