"""The figures of a search, as files in its folder. Optuna's own show neither the best trial nor
which were stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hmdc_ray.figures.canvas import save
from hmdc_ray.search.figures.importances import importances
from hmdc_ray.search.figures.parallel import parallel_coordinates
from hmdc_ray.search.figures.simplex import simplex
from hmdc_ray.search.figures.slices import accuracy_against_seconds, slices
from hmdc_ray.search.records import Axis, TrialRecord, front

SLICES_FILE = "parameters.png"
PARALLEL_FILE = "parallel.png"
IMPORTANCE_FILE = "importance.png"
SIMPLEX_FILE = "simplex.png"
SECONDS_FILE = "seconds.png"


def search_figures(
    folder: Path,
    trials: Sequence[TrialRecord],
    axes: Sequence[Axis],
    best: TrialRecord,
    importance: Mapping[str, float],
    importance_note: str,
) -> tuple[Path, ...]:
    """Write the figures of a finished search.

    Accuracy against each parameter and against seconds, and parallel coordinates, always;
    importance where it is known; the simplex for three members whose probabilities were searched.

    Args:
        folder: folder for the files.
        trials: trials of the search.
        axes: its parameters.
        best: best of the trials.
        importance: importances by path; empty when unknown.
        importance_note: words for the title about the accuracies behind them.

    Returns:
        The files written.

    Raises:
        InputError: a file cannot be written.
    """
    figures = {
        SLICES_FILE: slices(trials, axes, best),
        PARALLEL_FILE: parallel_coordinates(trials, axes, best),
        SECONDS_FILE: accuracy_against_seconds(trials, front(trials), best),
    }
    if importance:
        figures[IMPORTANCE_FILE] = importances(importance, importance_note)
    if len(best.probabilities) == 3:
        figures[SIMPLEX_FILE] = simplex(trials, best)
    for name, figure in figures.items():
        save(figure, folder / name)
    return tuple(folder / name for name in figures)
