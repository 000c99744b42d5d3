"""The figures of an evaluation, as files beside its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.figures import condensed_side_by_side, evaluation_figures, save

IMAGES_FILE = "side_by_side.png"


def write_figures(evaluation: Evaluation, sets: Mapping[str, CondensedSet], folder: Path, prefix: str = "") -> tuple[Path, ...]:
    """Write the figures that the evaluation has numbers for, and of several sets their images.

    Args:
        evaluation: whose students may have failed.
        sets: that it is of, by name.
        folder: for the files.
        prefix: of their names, so that the figures of several evaluations can lie together.

    Returns:
        The files written.

    Raises:
        InputError: a file cannot be written.
    """
    figures = evaluation_figures(evaluation)
    if len(sets) > 1:
        figures[IMAGES_FILE] = condensed_side_by_side(list(sets.items()))
    paths = {folder / f"{prefix}{name}": figure for name, figure in figures.items()}
    for path, figure in paths.items():
        save(figure, path)
    return tuple(paths)
