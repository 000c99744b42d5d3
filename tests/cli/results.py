"""Results to show: an evaluation, a search and a pre-training, and what a terminal shows of
them."""

from __future__ import annotations

import io
import re
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from hmdc_ray.cli.search_terminal import trials_table
from hmdc_ray.cli.tables import print_table
from hmdc_ray.evaluation.comparison import compare
from hmdc_ray.evaluation.report import Evaluation, JudgedSet, Row, SetComparison
from hmdc_ray.evaluation.statistics import summarise_values
from hmdc_ray.pretrain.report import Pretrained, TrainedNetwork
from hmdc_ray.search.records import RungRecord, TrialRecord

STUDENTS = ("convnet", "timm:vit_tiny_patch16_224", "mlp[wide]")
LONG_RUNS = ("a-run-with-a-name-of-30-letters", "lr[0.5]-run-of-thirty-letters-b", "third")


def printed(tables: list[Table], width: int | None) -> str:
    """What a terminal of that width shows; None: what a pipe gets."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=width is not None, width=width or 80, color_system=None)
    for table in tables:
        print_table(console, table)
    return written.getvalue()


def columns(text: str) -> dict[str, list[str]]:
    """Cells below each header of boxed tables, those of the first column once; headers and cells in
    one line each."""
    found: dict[str, list[str]] = {}
    for block in re.split(r"┏.*\n", text)[1:]:
        lines = [re.split("[│┃]", line)[1:-1] for line in block.splitlines() if line.startswith(("│", "┃"))]
        header, *rows = ([cell.strip() for cell in line] for line in lines)
        for place, name in enumerate(header):
            found[name] = [row[place] for row in rows]
    return found


def evaluation(sets: tuple[str, ...], *, whole_data: bool = True) -> Evaluation:
    """A set of formation 2, so that there are baselines of both kinds; three seeds, every number
    another one."""

    def summary(base: float) -> dict[str, tuple[float, ...]]:
        return {name: tuple(base + 0.1 * place + 0.013 * seed**2 for seed in range(3)) for place, name in enumerate(STUDENTS)}

    def values(base: float, student: str) -> tuple[float, ...]:
        return summary(base)[student]

    rows = tuple(
        Row(
            student,
            student == "convnet",
            summarise_values(values(0.31, student)),
            summarise_values(values(0.22, student)),
            summarise_values(values(0.23, student)),
            {},
            random_count=summarise_values(values(0.24, student)),
            kmeans_count=summarise_values(values(0.25, student)),
            whole_data=summarise_values(values(0.66, student)) if whole_data else None,
        )
        for student in STUDENTS
    )
    judged = tuple(
        JudgedSet(
            name,
            f"{place}",
            10,
            2,
            None,
            {student: summarise_values(values(0.31 + 0.05 * place, student)) for student in STUDENTS},
            None,
        )
        for place, name in enumerate(sets)
    )
    comparison = tuple(
        SetComparison(sets[0], name, compare(summary(0.31), dict.fromkeys(STUDENTS, (0.5, 0.61, 0.67)))) for name in sets[1:]
    )
    return Evaluation(
        rows=rows,
        protocol="dc",
        split="test",
        epochs=300,
        augmentation=False,
        seeds=3,
        run_seed=0,
        ipc=10,
        formation=2,
        mean=(0.5,),
        std=(0.2,),
        data_source="digits",
        data_fingerprint="a",
        condensed_fingerprint=None,
        version="0",
        sets=judged,
        comparison=comparison,
    )


def search_table() -> Table:
    problem = "step 12: the loss of 'a-member-whose-name-has-30-letters' is not finite: use a smaller learning rate [images]"
    rung = RungRecord(100, 12, 1, 0.31, 0.2, STUDENTS[1], {}, 123.4)
    finished = TrialRecord(1, "first", "finished", {}, {}, (rung,))
    return trials_table([finished, TrialRecord(2, "second", "failed", {}, {}, (), problem)], finished)


def pretrained_table() -> Table:
    network = TrainedNetwork("a-student-whose-name-has-30-let", STUDENTS[1], {}, "scratch", 30, 12345, 0.123, 0.91)
    made = Pretrained(
        networks=(network, replace(network, name="[b]")),
        split="validation",
        seed=0,
        workers=1,
        data_source="digits",
        data_fingerprint="a",
        version="0",
    )
    return made.table()
