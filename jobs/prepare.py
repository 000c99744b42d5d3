"""The command ``prepare``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from jobs.console import say, shown


def prepare(
    source: Annotated[str, typer.Argument(help="Image folder, .npz file, or torchvision:NAME.")],
    out: Annotated[Path, typer.Argument(help="Folder for the Parquet files.")],
    root: Annotated[Path | None, typer.Option(help="Where torchvision keeps or puts its files.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
) -> None:
    """Write any images as Parquet files that 'hmdc condense --data' reads."""
    from hmdc_ray.data.sources import prepare as run

    sizes = run(source, out, root=root, overwrite=overwrite)
    say(f"images  {', '.join(f'{count} {split}' for split, count in sizes.items())}")
    say(f"folder  {shown(out.expanduser())}")
    say(f"next    hmdc condense PRESET --data {shlex.quote(shown(out.expanduser()))} --dry-run")
