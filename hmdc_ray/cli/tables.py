"""Tables on a console of any width: nothing of them is cut.

Where there is no terminal a table is as wide as its content. On a terminal columns of text are
wrapped; what is then still too wide is printed as several tables of the same rows, each of which
begins with the first column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace

from rich.console import Console
from rich.measure import Measurement
from rich.segment import Segments
from rich.table import Column, Table
from rich.text import Text

TEXT_WIDTH = 26
"""Characters a line to which a column of text may be narrowed before other columns move to another
table."""

_UNLIMITED = 1_000_000


def print_table(console: Console, table: Table) -> None:
    """Print a table, in several parts if need be.

    Args:
        console: console to print on.
        table: table whose first column says what a row is. Columns with ``no_wrap`` hold numbers
            and names, the others text.
    """
    width = console.width if console.is_terminal else _UNLIMITED
    parts = _divided(console, table, width)
    for index, places in enumerate(parts):
        part = _part(table, places)
        part.title = table.title if index == 0 else None
        part.caption = table.caption if index == len(parts) - 1 else None
        if _least_width(console, part) > width:  # one column beside the first is too much: any cell may be broken then
            part.columns = [replace(column, no_wrap=False) for column in part.columns]
        if index > 0 and table.box is None:
            console.print()  # else the next head would look like a row
        room = console.options.update(width=min(width, _width(console, part)))
        console.print(Segments(console.render(part, room)), crop=False, end="")


def print_rows(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Print rows of a name and a text."""
    table = Table.grid(padding=(0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in rows:
        table.add_row(name, Text(text))
    print_table(console, table)


def _divided(console: Console, table: Table, width: int) -> list[list[int]]:
    """Places of the columns of each part: the first one and, in their order, others; as few parts
    as can be, about equal."""
    first = _least_width(console, _part(table, [0]))
    others = [_least_width(console, _part(table, [0, place])) - first for place in range(1, len(table.columns))]

    def fill(room: int) -> list[list[int]]:
        parts, left = [[0]], room - first
        for place, other in enumerate(others, start=1):
            if other > left and len(parts[-1]) > 1:
                parts.append([0])
                left = room - first
            parts[-1].append(place)
            left -= other
        return parts

    fewest = len(fill(width))
    return next(parts for parts in map(fill, range(first + sum(others) + 1)) if len(parts) <= fewest)


def _part(table: Table, places: Sequence[int]) -> Table:
    """The table with these columns only."""
    part = copy(table)
    # Rich's own choice for words that are too long is to cut them.
    part.columns = [replace(table.columns[place], overflow="fold", _index=index) for index, place in enumerate(places)]
    return part


def _least_width(console: Console, table: Table) -> int:
    """Characters that the table needs when its columns of text are as narrow as they may become."""

    def narrowed(column: Column) -> Column:
        return column if column.no_wrap else replace(column, max_width=TEXT_WIDTH)

    narrow = copy(table)
    narrow.columns = [narrowed(column) for column in table.columns]
    return _width(console, narrow)


def _width(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update(width=_UNLIMITED), table).maximum
