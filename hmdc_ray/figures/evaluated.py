"""Figures of an evaluation: what it holds, brought into the form that the drawings take."""

from __future__ import annotations

from matplotlib.figure import Figure

from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.report import Evaluation, measured_summaries
from hmdc_ray.evaluation.statistics import Summary
from hmdc_ray.figures.bars import bars, gain
from hmdc_ray.figures.canvas import shortened
from hmdc_ray.figures.matrix import matrix

MATRIX_FILE = "matrix.png"
GAINS_FILE = "gains.png"


def evaluation_figures(evaluation: Evaluation) -> dict[str, Figure]:
    """The figures that an evaluation has numbers for, by their files' names."""
    figures = {}
    if any(made for _, made in _accuracies(evaluation)):
        figures[MATRIX_FILE] = accuracy_matrix(evaluation)
    if _gains(evaluation):
        figures[GAINS_FILE] = gains(evaluation)
    return figures


def accuracy_matrix(evaluation: Evaluation) -> Figure:
    """Draw accuracies by images and architecture as a heat map with numbers, mean ± half the 95 %
    interval.

    One row per condensed set; with one set, rows for random real, k-means real (where measured) and
    condensed images.
    """
    title = f"Accuracy on the {evaluation.split} split in %\n{_seeds(evaluation, 'mean ± half the 95 % interval')}"
    return matrix(_accuracies(evaluation), *_in_pool(evaluation), title=title)


def gains(evaluation: Evaluation) -> Figure:
    """Draw the gain over random real images per architecture as bars with 95 % intervals, paired by
    seed.

    One bar per condensed set with as many images per class as the random ones, which are those of
    the first set; with one set, also the gain of k-means real images where measured.

    Raises:
        InputError: the evaluation has no random real images.
    """
    if not _kinds(evaluation)["random"]:
        raise InputError("baselines of the evaluation have no random real images: must be random or both to show gains")
    series = _gains(evaluation)
    title = f"Gain over random real images of the same number\n{_seeds(evaluation, 'mean and 95 % interval')}"
    return bars(series, *_in_pool(evaluation), title=title, axis=f"accuracy on the {evaluation.split} split, points")


def _accuracies(evaluation: Evaluation) -> list[tuple[str, dict[str, Summary]]]:
    """Accuracies by images and architecture."""
    if len(evaluation.sets) > 1:
        return [(entry.name, measured_summaries(entry.summaries)) for entry in evaluation.sets]
    return [(name, made) for name, made in _kinds(evaluation).items() if made]


def _gains(evaluation: Evaluation) -> list[tuple[str, dict[str, Summary]]]:
    """Gains by series and architecture, where both numbers are known; without series that have
    none."""
    kinds = _kinds(evaluation)
    random = kinds["random"]
    if len(evaluation.sets) > 1:
        sets = [entry for entry in evaluation.sets if entry.ipc == evaluation.ipc]
        compared = [(entry.name, measured_summaries(entry.summaries)) for entry in sets]
    else:
        compared = [(name, kinds[name]) for name in ("k-means", "condensed") if kinds[name]]
    series = [(name, {place: gain(made[place], random[place]) for place in made if place in random}) for name, made in compared]
    return [(name, made) for name, made in series if made]


def _kinds(evaluation: Evaluation) -> dict[str, dict[str, Summary]]:
    return {
        "random": measured_summaries({row.architecture: row.random for row in evaluation.rows}),
        "k-means": measured_summaries({row.architecture: row.kmeans for row in evaluation.rows}),
        "condensed": measured_summaries({row.architecture: row.condensed for row in evaluation.rows}),
    }


def _in_pool(evaluation: Evaluation) -> tuple[set[str], str]:
    """The architectures to mark, and the meaning of the mark: the pool is that of the first set."""
    pool = f"the pool of {shortened(evaluation.sets[0].name)}" if len(evaluation.sets) > 1 else "the pool"
    return {row.architecture for row in evaluation.rows if row.in_pool}, f"in {pool}"


def _seeds(evaluation: Evaluation, interval: str) -> str:
    return f"{interval} of {evaluation.seeds} seeds" if evaluation.seeds > 1 else "one seed"
