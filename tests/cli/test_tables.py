"""Tables on consoles of every width: no cell is lost, none is cut, no line is wider than the
terminal."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from rich.table import Table

from hmdc_ray.cli.evaluation_table import tables

from .results import LONG_RUNS, evaluation, pretrained_table, printed, search_table

WIDTHS = (40, 60, 80, 100, 120, 200)


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
