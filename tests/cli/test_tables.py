"""Tables on consoles of every width: no cell is lost, none is cut, no line is wider than the terminal."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from hmdc_ray.cli.evaluation_table import tables
from hmdc_ray.cli.search_terminal import trials_table
from hmdc_ray.cli.tables import print_table
from hmdc_ray.evaluation.comparison import compare
from hmdc_ray.evaluation.report import Evaluation, JudgedSet, Row, SetComparison
from hmdc_ray.evaluation.statistics import summarise_values
from hmdc_ray.pretrain.report import Pretrained, TrainedNetwork
from hmdc_ray.search.records import RungRecord, TrialRecord

WIDTHS = (40, 60, 80, 100, 120, 200)
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
    """Cells below each header of boxed tables, those of the first column once; headers and cells in one line each."""
    found: dict[str, list[str]] = {}
    for block in re.split(r"┏.*\n", text)[1:]:
        lines = [re.split("[│┃]", line)[1:-1] for line in block.splitlines() if line.startswith(("│", "┃"))]
        header, *rows = ([cell.strip() for cell in line] for line in lines)
        for place, name in enumerate(header):
            found[name] = [row[place] for row in rows]
    return found


def evaluation(sets: tuple[str, ...], *, whole_data: bool = True) -> Evaluation:
    """A set of formation 2, so that there are baselines of both kinds; three seeds, every number another one."""

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


def test_all_numbers_of_a_packed_set_reach_a_pipe_in_one_table() -> None:
    found = columns(printed(tables(evaluation(("condensed",))), None))
    assert list(found) == [
        "architecture",
        "in pool",
        "random",
        "k-means",
        "random ×4",
        "k-means ×4",
        "whole data",
        "condensed",
        "gain",
    ]
    assert found["architecture"] == [*STUDENTS, "mean"]
    assert found["in pool"] == ["yes", "no", "no", ""]
    assert found["condensed"] == ["33.2 ± 6.7", "43.2 ± 6.7", "53.2 ± 6.7", "43.2"]
    assert found["gain"] == ["+9.0"] * 4


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("whole_data", [True, False])
def test_a_terminal_shows_the_same_numbers_as_a_pipe(width: int, whole_data: bool) -> None:
    made = tables(evaluation(("condensed",), whole_data=whole_data))
    assert columns(printed(made, width)) == columns(printed(made, None))


@pytest.mark.parametrize("width", [100, 120, 200])
def test_several_sets_with_long_names_and_their_comparisons_are_whole(width: int) -> None:
    for table in tables(evaluation(LONG_RUNS)):
        whole = columns(printed([table], None))
        assert columns(printed([table], width)) == whole
    assert set(LONG_RUNS) <= set(columns(printed(tables(evaluation(LONG_RUNS))[:1], None)))


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


def listing() -> Table:
    table = Table(box=None)
    table.add_column("preset", no_wrap=True)
    table.add_column("what it is")
    table.add_column("options")
    table.add_row("model-pool-released", "the random ConvNet has one block, as in its authors' code", "/a/path/" + "x" * 70)
    return table


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("table", [*tables(evaluation(LONG_RUNS)), search_table(), pretrained_table(), listing()])
def test_nothing_is_cut_at_any_width(table: Table, width: int) -> None:
    text = printed([table], width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    # What is broken is broken between its characters, of which each is still there.
    assert characters(text) >= characters(printed([table], None))


def characters(text: str) -> Counter[str]:
    return Counter(character for character in text if character.isalnum() or character in "±.,:-_[]/")


def test_names_that_look_like_markup_are_shown() -> None:
    text = printed(tables(evaluation(("lr[red]", "b[/]"))), None)
    assert "lr[red]" in text and "b[/] against lr[red]" in text and "mlp[wide]" in text
    assert "[images]" in printed([search_table()], None) and "[b]" in printed([pretrained_table()], None)


def test_parts_are_about_equal_and_begin_with_the_first_column() -> None:
    table = Table(title="title", caption="caption")
    for place in range(7):
        table.add_column(f"column {place}", no_wrap=True)
    table.add_row(*(f"cell {place}" for place in range(7)))
    text = printed([table], 70)
    heads = [re.findall(r"column \d", line) for line in text.splitlines() if "column" in line]
    assert heads == [["column 0", "column 1", "column 2", "column 3"], ["column 0", "column 4", "column 5", "column 6"]]
    assert (text.count("title"), text.count("caption")) == (1, 1)


def test_text_is_wrapped_before_a_column_leaves() -> None:
    text = printed([listing()], 80)
    assert text.count("preset") == 1
    assert printed([listing()], 60).count("preset") == 2
    assert printed([listing()], 60).split("\n\n")[1].lstrip().startswith("preset")  # apart, for there are no lines between


def test_a_cell_wider_than_the_terminal_is_broken() -> None:
    table = Table("name", "other")
    table.columns[0].no_wrap = True
    table.add_row("x" * 70, "y" * 70)
    text = printed([table], 50)
    assert (text.count("x"), text.count("y")) == (70, 70)
