"""The command ``condense``, and the entry point for ``ray job submit -- python -m jobs.condense ...`` with its arguments."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import apply_overrides, load_config
from hmdc_ray.presets import PRESETS, preset
from jobs.console import Address, Assignments, Data, console, errors, say, shown

if TYPE_CHECKING:
    from hmdc_ray.interrupt import Interrupted


def condense(
    configuration: Annotated[str, typer.Argument(metavar="PRESET|FILE.yaml", help="Preset, YAML file, or folder of a run.")],
    data: Data = None,
    seed: Annotated[str | None, typer.Option(metavar="INTEGER", help="Seed of all random draws.")] = None,
    set_: Assignments = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the run; runs/NAME without it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in that folder.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in that folder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and show the plan, start nothing.")] = False,
    address: Address = None,
) -> None:
    """Learn synthetic images, evaluate them, and write a run's folder."""
    assignments = [*(set_ or [])]
    if data is not None:
        assignments.append(f"data.source={data}")
    if seed is not None:
        assignments.append(f"seed={seed}")
    config = _configuration(configuration, assignments)
    folder = output or Path("runs") / config.name
    if dry_run:
        from jobs.dry_run import show_plan

        show_plan(config, folder, console)
        return
    from hmdc_ray.interrupt import Interrupted
    from hmdc_ray.run import condense as run
    from hmdc_ray.terminal import TerminalProgress

    progress = TerminalProgress(console)
    try:
        with progress:
            summary = run(config, folder, resume=resume, overwrite=overwrite, address=address, progress=progress)
    except Interrupted as stopped:
        _tell_how_to_go_on(stopped, progress.position)
        raise typer.Exit(128 + stopped.signal_number) from None
    say(f"images      {shown(summary.folder / 'images.png')}")
    say(f"data set    {shown(summary.folder / 'condensed.parquet')}")
    say(f"accuracies  {shown(summary.folder / 'evaluation.json')}")
    for label, line in zip(("MLflow", ""), summary.tracking.splitlines(), strict=False):
        say(f"{label:<12}{line}")


def _configuration(text: str, assignments: list[str]) -> RunConfig:
    """The preset, or the file, with the fields replaced; a preset may have another schedule for other images per class."""
    if text not in PRESETS and (text.endswith((".yaml", ".yml")) or os.sep in text or Path(text).exists()):
        return apply_overrides(load_config(Path(text)), assignments)
    ipc = apply_overrides(preset(text), assignments).images.ipc
    return apply_overrides(preset(text, ipc=ipc), assignments)


def _tell_how_to_go_on(stopped: Interrupted, position: str) -> None:
    again = sys.argv[1:]
    if stopped.resumable:
        again = [word for word in again if word not in ("--overwrite", "--resume")] + ["--resume"]
    errors.print(
        f"{stopped} {position}. {'Go on' if stopped.resumable else 'Start again'} with:\n  hmdc {shlex.join(again)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def main() -> None:
    """Run ``hmdc condense`` with this process's arguments."""
    from jobs.cli import main as command_line

    sys.argv[1:1] = ["condense"]
    command_line()


if __name__ == "__main__":
    main()
