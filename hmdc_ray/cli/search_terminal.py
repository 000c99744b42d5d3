"""A search on a terminal: one line for everything that happens to a trial, and at the end the table
of the best."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from time import monotonic

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hmdc_ray.search.records import RungRecord, TrialRecord

SHOWN = 15
"""Trials in the table, the best first; all are in trials.json."""


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


def trials_table(trials: Sequence[TrialRecord], best: TrialRecord | None) -> Table:
    """The best trials: those that reached the last rung first, then by accuracy."""

    def order(trial: TrialRecord) -> tuple[bool, float]:
        return trial.state == "finished", trial.last.accuracy if trial.rungs else -1.0

    ranked = sorted(trials, key=order, reverse=True)
    states = {state: sum(trial.state == state for trial in trials) for state in ("finished", "stopped", "failed", "unfinished")}
    counts = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    built = Table(
        title=f"{len(trials)} trials ({counts}), accuracy on validation data in %",
        caption=f"the {SHOWN} best; all are in trials.json" if len(trials) > SHOWN else None,
    )
    for name in ("trial", "iterations", "accuracy", "worst", "seconds"):
        built.add_column(name, justify="right", no_wrap=True)
    built.add_column("state")
    for trial in ranked[:SHOWN]:
        built.add_row(*_cells(trial), style="bold" if best is not None and trial.number == best.number else None)
    return built


def _cells(trial: TrialRecord) -> tuple[str, ...]:
    if not trial.rungs or trial.last.problem:
        return str(trial.number), "–", "–", "–", "–", escape(f"{trial.state}: {trial.problem}")
    rung = trial.last
    worst = f"{100 * rung.worst:.1f} ({escape(rung.worst_architecture)})"
    return str(trial.number), str(rung.iterations), f"{100 * rung.accuracy:.1f}", worst, f"{rung.seconds:.1f}", trial.state
