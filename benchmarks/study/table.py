"""The result of the study as a table, for a terminal and in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import rich.console
import rich.table

from hmdc_ray.evaluation.statistics import summarise_values
from hmdc_ray.exchange.step_records import DISTILLATION

PROBE = "probe_accuracy"

LEGEND = (
    "Accuracy on the test split in %, mean ± half the 95 % interval over condensed sets. In brackets the share of trainings"
    " that failed, in % (the student has learned half of its own training images at most); they count in the means."
    " Differences to ConvNet alone with the work of all four balanced are paired by seed, in points, with their 95 % interval"
    " (paired t). Work: processor seconds of a run, all members, their training, and the server."
)


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Attributes:
        name: name of the row.
        title: description for people.
        learning_rate: learning rate of the images, chosen on validation data.
        steps: number of image steps.
        seconds: processor time of a run, mean over the sets.
        shares: mean part of every target in the applied update.
        agreement: measures of mutual distillation.
        students: accuracies in [0, 1] by student, mean over its seeds, one for each condensed set.
        failed: share of trainings that failed, by student.
    """

    name: str
    title: str
    learning_rate: float
    steps: int
    seconds: float
    shares: dict[str, float]
    agreement: dict[str, float]
    students: dict[str, list[float]]
    failed: dict[str, float]

    def means(self, names: Sequence[str]) -> list[float]:
        """Mean over these students, one for each condensed set."""
        return [statistics.fmean(values) for values in zip(*(self.students[name] for name in names), strict=True)]


@dataclass(frozen=True)
class Table:
    """All rows.

    Attributes:
        lines: the rows, with the same students and seeds.
        against: name of the row that the others are compared with.
        unseen: students that are in no pool.
    """

    lines: Sequence[Line]
    against: str
    unseen: tuple[str, ...]

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as plain values, with the differences by condensed set."""
        every = list(self.lines[0].students)
        return [
            asdict(line)
            | {"difference": self._differences(line, every), "difference_unseen": self._differences(line, self.unseen)}
            for line in self.lines
        ]

    def markdown(self) -> str:
        """The two tables and what their columns mean."""
        return "\n".join([*(markdown_table(cells) for cells in (self._summary(), self._by_student())), LEGEND]) + "\n"

    def terminal(self) -> rich.console.Group:
        """The same tables for :mod:`rich`."""
        tables = []
        for head, *rows in (self._summary(), self._by_student()):
            tables.append(rich.table.Table(*head))
            for row in rows:
                tables[-1].add_row(*row)
        return rich.console.Group(*tables, LEGEND)

    def _summary(self) -> list[list[str]]:
        """Head and rows: how much each row costs and gives."""
        head = ["", "rate", "steps", "work, s", "mean", "difference", "unseen", "difference, unseen", "F, %", "probe, %"]
        every = list(self.lines[0].students)
        return [
            head,
            *(
                [
                    line.title,
                    f"{line.learning_rate:g}",
                    str(line.steps),
                    f"{line.seconds:.0f}",
                    percent(line.means(every)) + _failed(statistics.fmean(line.failed.values())),
                    self._difference(line, every),
                    percent(line.means(self.unseen)),
                    self._difference(line, self.unseen),
                    _percent(line.shares.get(DISTILLATION)),
                    _percent(line.agreement.get(PROBE)),
                ]
                for line in self.lines
            ),
        ]

    def _by_student(self) -> list[list[str]]:
        """Head and rows: what each student reaches."""
        students = list(self.lines[0].students)
        head = ["", *(f"{student} (unseen)" if student in self.unseen else student for student in students)]
        cells = (
            [percent(line.students[student]) + _failed(line.failed[student]) for student in students] for line in self.lines
        )
        return [head, *([line.title, *row] for line, row in zip(self.lines, cells, strict=True))]

    def _difference(self, line: Line, students: Sequence[str]) -> str:
        return "-" if line.name == self.against else percent(self._differences(line, students), sign="+")

    def _differences(self, line: Line, students: Sequence[str]) -> list[float]:
        (other,) = (each for each in self.lines if each.name == self.against)
        return [ours - theirs for ours, theirs in zip(line.means(students), other.means(students), strict=True)]


def markdown_table(cells: Sequence[Sequence[str]]) -> str:
    """A table in Markdown from its head and rows."""
    head, *rows = cells
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)) + "\n"


def percent(values: Sequence[float], sign: str = "") -> str:
    """Mean ± half the 95 % interval of fractions, in %."""
    summary = summarise_values(values)
    return f"{100 * summary.mean:{sign}.1f} ± {100 * (summary.half_interval or 0):.1f}"


def _failed(share: float) -> str:
    return f" ({100 * share:.0f})" if share else ""


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
