"""Pictures for people: each a function from results to a matplotlib figure, which :func:`save` writes.

Figures are made without pyplot, so that they touch no global state and need no screen.
"""

from __future__ import annotations

from pathlib import Path

from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.figures.canvas import save
from hmdc_ray.figures.evaluated import GAINS_FILE, MATRIX_FILE, accuracy_matrix, evaluation_figures, gains
from hmdc_ray.figures.gradients import gradient_magnitudes
from hmdc_ray.figures.side_by_side import condensed_side_by_side

GRADIENTS_FILE = "gradients.png"


def run_figures(folder: Path, evaluation: Evaluation) -> tuple[Path, ...]:
    """Write the figures of a finished run into its folder: those that it has numbers for.

    Gradient magnitudes always, the matrix when students were measured, gains over random images when these were.

    Args:
        folder: the run's folder, with its ``metrics.jsonl``.
        evaluation: of the run's images.

    Returns:
        The files written.

    Raises:
        InputError: the metrics cannot be read, or a file cannot be written.
    """
    figures = {GRADIENTS_FILE: gradient_magnitudes(folder / "metrics.jsonl"), **evaluation_figures(evaluation)}
    for name, figure in figures.items():
        save(figure, folder / name)
    return tuple(folder / name for name in figures)


__all__ = [
    "GAINS_FILE",
    "GRADIENTS_FILE",
    "MATRIX_FILE",
    "accuracy_matrix",
    "condensed_side_by_side",
    "evaluation_figures",
    "gains",
    "gradient_magnitudes",
    "run_figures",
    "save",
]
