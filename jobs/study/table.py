"""The result of the study as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hmdc_ray.evaluation.statistics import summarise_values


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Attributes:
        title: what the row is.
        learning_rate: of the images, chosen on validation data.
        steps: image steps.
        seconds: processor time of a run, mean over the sets.
        shares: mean part of every target in the applied update.
        students: accuracies in [0, 1] by student, one for each condensed set.
    """

    title: str
    learning_rate: float
    steps: int
    seconds: float
    shares: dict[str, float]
    students: dict[str, list[float]]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.__dict__, "means_of_sets": self.means()}

    def means(self) -> list[float]:
        """Mean over the students, one for each condensed set."""
        return [sum(values) / len(values) for values in zip(*self.students.values(), strict=True)]


def markdown(lines: Sequence[Line]) -> str:
    """Accuracies in %, mean ± half the 95 % interval over condensed sets; shares of the targets in %."""
    students = list(lines[0].students)
    head = ["", "rate", "steps", "work (s)", *students, "mean", "share of each target in the update (%)"]
    rows = [head, ["---"] * len(head)]
    for line in lines:
        shares = ", ".join(f"{target} {100 * share:.0f}" for target, share in line.shares.items())
        cells = [_cell(line.students[student]) for student in students]
        rate, seconds = f"{line.learning_rate:g}", f"{line.seconds:.0f}"
        rows.append([line.title, rate, str(line.steps), seconds, *cells, _cell(line.means()), shares])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _cell(values: Sequence[float]) -> str:
    summary = summarise_values(values)
    return f"{100 * summary.mean:.1f} ± {100 * (summary.half_interval or 0):.1f}"
