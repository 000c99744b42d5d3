"""The figures of a run or of an evaluation, as files beside its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config.io import METRICS_FILE
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.figures.canvas import save
from hmdc_ray.figures.evaluated import evaluation_figures
from hmdc_ray.figures.gradients import gradient_magnitudes
from hmdc_ray.figures.image_grid import image_grid

GRADIENTS_FILE = "gradients.png"
IMAGES_FILE = "side_by_side.png"


def run_figures(folder: Path, evaluation: Evaluation) -> tuple[Path, ...]:
    """Write the figures of a finished run into its folder: those that it has numbers for.

    Gradient magnitudes always, the matrix when students were measured, gains over random images
    when these were.

    Args:
        folder: the run's folder, with its ``metrics.jsonl``.
        evaluation: evaluation of the run's images.

    Returns:
        The files written.

    Raises:
        InputError: the metrics cannot be read, or a file cannot be written.
    """
    figures = {GRADIENTS_FILE: gradient_magnitudes(folder / METRICS_FILE), **evaluation_figures(evaluation)}
    for name, figure in figures.items():
        save(figure, folder / name)
    return tuple(folder / name for name in figures)


def write_figures(evaluation: Evaluation, sets: Mapping[str, CondensedSet], folder: Path, prefix: str = "") -> tuple[Path, ...]:
    """Write the figures that the evaluation has numbers for, and of several sets their images.

    Args:
        evaluation: evaluation to draw, of which some students may have failed.
        sets: the evaluated condensed sets, by name.
        folder: folder for the files.
        prefix: prefix of their names, so that figures of several evaluations can share a folder.

    Returns:
        The files written.

    Raises:
        InputError: a file cannot be written.
    """
    paths = {folder / f"{prefix}{name}": figure for name, figure in evaluation_figures(evaluation).items()}
    for path, figure in paths.items():
        save(figure, path)
    if len(sets) < 2:
        return tuple(paths)
    image_grid(sets, folder / f"{prefix}{IMAGES_FILE}")
    return *paths, folder / f"{prefix}{IMAGES_FILE}"
