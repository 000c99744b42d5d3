"""The trials of a search as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from hmdc_ray.search.records import TrialRecord

SHOWN = 15
"""Trials in the table, the best first; all are in trials.json."""


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
