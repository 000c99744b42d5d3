"""The command ``hmdc status``."""

from __future__ import annotations

import shlex
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from hmdc_ray.cli.console import console, shown
from hmdc_ray.cli.tables import print_rows, print_table

if TYPE_CHECKING:
    from hmdc_ray.run.status import RunStatus


def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run, or one with runs, such as a search's.")],
) -> None:
    """Show where a run stands, whether it is alive, what has gone wrong, and how it goes on."""
    from hmdc_ray.run.status import run_folders, run_status

    found = [run_status(path) for path in run_folders(folder)]
    if len(found) == 1:
        print_rows(console, _details(found[0]))
    else:
        print_table(console, _overview(found))


def _details(run: RunStatus) -> list[tuple[str, str]]:
    from hmdc_ray.run.status import age

    rows = [("run", f"{run.name}, {_state(run)}"), ("step", _position(run))]
    if run.checkpoint is None:
        rows.append(("checkpoint", "none"))
    else:
        rows.append(("checkpoint", f"after step {run.checkpoint}, {_ago(run.checkpoint_age)}"))
    rows.append(("trouble", _trouble(run)))
    if run.last_trouble is not None:
        rows.append(("", f"last: {run.last_trouble.describe()}, {_ago(age(run.last_trouble))}"))
    rows += [("", note) for note in run.notes]
    path = shlex.quote(shown(run.folder))
    if run.unsent:
        rows.append(
            ("tracking", f"{run.unsent} records not sent to MLflow" + ("" if run.process else f": hmdc sync-tracking {path}"))
        )
    if run.state == "stopped":
        rows.append(("resume", f"hmdc condense {path} --output {path} --resume"))
    return rows


def _overview(runs: list[RunStatus]) -> Table:
    table = Table("run", "state", box=None, header_style="bold")
    for name in ("step", "checkpoint"):
        table.add_column(name, no_wrap=True)
    table.add_column("trouble")
    for run in runs:
        checkpoint = "none" if run.checkpoint is None else str(run.checkpoint)
        cells = (shown(run.folder), _state(run), f"{run.step} of {run.total}", checkpoint, _trouble(run))
        table.add_row(*map(Text, cells))
    return table


def _state(run: RunStatus) -> str:
    return f"running in process {run.process}" if run.process else run.state


def _position(run: RunStatus) -> str:
    if run.iteration is None:
        return f"0 of {run.total}"
    return f"{run.step} of {run.total}, iteration {run.iteration + 1} of {run.iterations}, {_ago(run.last_step_age)}"


def _trouble(run: RunStatus) -> str:
    counted = [f"{count} {kind.replace('_', ' ')}" for kind, count in run.trouble.items()]
    if run.seconds_lost:
        counted.append(f"{run.seconds_lost:.0f} s lost")
    return ", ".join(counted) or ("see below" if run.notes else "none")


def _ago(seconds: float | None) -> str:
    return "at an unknown time" if seconds is None else f"{timedelta(seconds=int(seconds))} ago"
