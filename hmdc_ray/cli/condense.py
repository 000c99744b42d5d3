"""The command ``hmdc condense``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer

from hmdc_ray.cli.configuration import read_configuration, telling_how_to_resume
from hmdc_ray.cli.console import Address, Assignments, Data, console, say, shown
from hmdc_ray.config.io import CONDENSED_FILE, EVALUATION_FILE, IMAGES_FILE


def condense(
    configuration: Annotated[str, typer.Argument(metavar="PRESET|FILE.yaml", help="Preset, YAML file, or folder of a run.")],
    data: Data = None,
    seed: Annotated[str | None, typer.Option(metavar="INTEGER", help="Seed of all random draws.")] = None,
    set_: Assignments = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the run; runs/NAME without it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in that folder.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the last checkpoint in that folder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and show the plan, start nothing.")] = False,
    address: Address = None,
) -> None:
    """Learn synthetic images, evaluate them, and write a run's folder."""
    config = read_configuration(configuration, set_, {"data.source": data, "seed": seed})
    folder = output or Path("runs") / config.name
    if dry_run:
        from hmdc_ray.cli.dry_run import show_plan

        show_plan(config, folder, console)
        return
    from hmdc_ray.actors.session import ray_session
    from hmdc_ray.cli.terminal import TerminalProgress
    from hmdc_ray.run.folder import RunFolder
    from hmdc_ray.system.signals import stop_on_signals

    RunFolder.check(folder.absolute(), overwrite, resume)  # the mistake that is made most often, before seconds of waiting
    progress = TerminalProgress(console)
    # What runs imports torch, which takes seconds, as Ray's start does: at the same time.
    with (
        telling_how_to_resume(lambda: progress.position),
        progress,
        stop_on_signals() as stop,
        _importing("hmdc_ray.run.condense") as imported,
        ray_session(address, progress.stage, stop.raise_if_requested),
    ):
        imported.join()
        from hmdc_ray.run.condense import condense as run

        summary = run(config, folder, resume=resume, overwrite=overwrite, address=address, progress=progress)
    say(f"images      {shown(summary.folder / IMAGES_FILE)}")
    say(f"data set    {shown(summary.folder / CONDENSED_FILE)}")
    say(f"accuracies  {shown(summary.folder / EVALUATION_FILE)}")
    for label, line in zip(("MLflow", ""), summary.tracking.splitlines(), strict=False):
        say(f"{label:<12}{line}")
    from hmdc_ray.cli.failed import end_if_students_failed
    from hmdc_ray.evaluation.request import repetition

    again = repetition(config, Path(shown(summary.folder)))
    end_if_students_failed(summary.evaluation, again, summary.folder / EVALUATION_FILE)


@contextmanager
def _importing(module: str) -> Iterator[Thread]:
    """Import a module in a thread; what the import raises is left to the next one who imports
    it."""

    def import_quietly() -> None:
        with suppress(ImportError):
            import_module(module)

    thread = Thread(target=import_quietly, name=f"imports {module}")
    thread.start()
    try:
        yield thread
    finally:
        thread.join()
