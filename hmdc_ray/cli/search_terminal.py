"""The progress of a search on a terminal: one line for everything that happens to a trial."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic

from rich.console import Console

from hmdc_ray.search.records import RungRecord


class TerminalSearch:
    """Prints the progress of a search.

    Args:
        console: console to print on.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = monotonic()

    def stage(self, text: str) -> None:
        """Name the part of the search that begins."""
        self._line(text)

    def rung(self, number: int, trials: int, record: RungRecord) -> None:
        """Show what a trial is worth at a rung."""
        if record.problem:
            self._line(f"trial {number} of {trials}: failed, {record.problem}", style="yellow")
            return
        worst = f"worst {100 * record.worst:.1f} % ({record.worst_architecture})"
        done = f"{record.iterations} iteration{'s' if record.iterations > 1 else ''} in {record.seconds:.1f} s"
        self._line(f"trial {number} of {trials}: {done}, accuracy {100 * record.accuracy:.1f} %, {worst}")

    def stopped(self, number: int, trials: int) -> None:
        """Show that a trial is stopped early."""
        self._line(f"trial {number} of {trials}: stopped", style="dim")

    def failure(self, number: int, trials: int, reason: str, retried: bool) -> None:
        """Show that a trial's processes have failed."""
        self._line(f"trial {number} of {trials}: {reason}; {'tried again' if retried else 'given up'}", style="yellow")

    def _line(self, text: str, style: str | None = None) -> None:
        clock = timedelta(seconds=int(monotonic() - self._start))
        self._console.print(f"{clock}  {text}", style=style, highlight=False, markup=False, soft_wrap=True)
