"""The figures of an evaluation, as files beside its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.figures import GAINS_FILE, MATRIX_FILE, accuracy_matrix, condensed_side_by_side, gains, save

IMAGES_FILE = "side_by_side.png"


def write_figures(evaluation: Evaluation, sets: Mapping[str, CondensedSet], folder: Path, prefix: str = "") -> tuple[Path, ...]:
    """Write the matrix of accuracies, the gains where random images were measured, and of several sets their images.

    Args:
        evaluation: with at least one student.
        sets: that it is of, by name.
        folder: for the files.
        prefix: of their names, so that the figures of several evaluations can lie together.

    Returns:
        The files written.

    Raises:
        InputError: a file cannot be written.
    """
    figures = {MATRIX_FILE: accuracy_matrix(evaluation)}
    if any(row.random is not None for row in evaluation.rows):
        figures[GAINS_FILE] = gains(evaluation)
    if len(sets) > 1:
        figures[IMAGES_FILE] = condensed_side_by_side(list(sets.items()))
    paths = {folder / f"{prefix}{name}": figure for name, figure in figures.items()}
    for path, figure in paths.items():
        save(figure, path)
    return tuple(paths)
