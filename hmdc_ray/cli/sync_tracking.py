"""The command ``hmdc sync-tracking``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hmdc_ray.cli.console import say, shown
from hmdc_ray.errors import RunError


def sync_tracking(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run, or one with runs, such as a search's.")],
) -> None:
    """Send to MLflow what runs could not send while its server was away; each value once."""
    from hmdc_ray.tracking import sync_tracking as run

    refused = []
    for synced in run(folder):
        if synced.is_running:
            outcome = "still running, sends its records itself"
        elif synced.sent or synced.refused:
            outcome = f"{synced.sent} records sent"
        else:
            outcome = "nothing was missing"
        say(f"{shown(synced.folder)}  {outcome}")
        refused += [(synced.folder, why) for why in synced.refused]
    if refused:
        where, why = refused[0]
        raise RunError(f"MLflow refused {len(refused)} records, the first of {shown(where)}: {why}; they stay in the folder")
