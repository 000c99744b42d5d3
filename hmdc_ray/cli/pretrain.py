"""The command ``hmdc pretrain``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from hmdc_ray.cli.configuration import read_configuration, telling_how_to_resume
from hmdc_ray.cli.console import Address, Assignments, Data, console, say, shown


def pretrain(
    configuration: Annotated[
        str,
        typer.Argument(metavar="PRESET|FILE.yaml", help="Preset, YAML file, or folder of a run: its pool, students and data."),
    ],
    data: Data = None,
    architectures: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated names of members, students or architectures; without it, all members whose options are fixed,"
            " and all students."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes that train together, each on its part of a batch.")] = 1,
    epochs: Annotated[
        str | None, typer.Option(metavar="E", help="Epochs of the recipe: evaluation.whole_data_epochs, or 30.")
    ] = None,
    seed: Annotated[str | None, typer.Option(metavar="INTEGER", help="Seed of all random draws.")] = None,
    split: Annotated[Literal["validation", "test"], typer.Option(help="Split that accuracy is measured on.")] = "validation",
    set_: Assignments = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the weights; pretrained/NAME without it.")] = None,
    storage_path: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|URI",
            help="Where Ray Train keeps checkpoints, for all nodes: a folder, s3://.., gs://..; else in OUTPUT.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the pre-training in that folder.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the last checkpoint of that folder.")] = False,
    address: Address = None,
) -> None:
    """Train networks on the real images, for pool members to start from and as upper bound."""
    fields = {"data.source": data, "evaluation.whole_data_epochs": epochs, "seed": seed}
    config = read_configuration(configuration, set_, fields)
    folder = output or Path("pretrained") / config.name
    from hmdc_ray.cli.tables import print_table
    from hmdc_ray.cli.terminal import TerminalProgress
    from hmdc_ray.pretrain import pretrain as run

    progress = TerminalProgress(console)
    with telling_how_to_resume(lambda: progress.position), progress:
        result = run(
            config,
            folder,
            progress=progress,
            architectures=architectures,
            workers=workers,
            split=split,
            storage_path=storage_path,
            resume=resume,
            overwrite=overwrite,
            address=address,
        )
    print_table(console, result.table())
    say(f"weights     {shown(folder)}")
    use = result.assignments(folder.absolute(), config.pool.members)
    if use:
        again = ["hmdc", "condense", configuration, *(["--data", data] if data is not None else [])]
        again += [word for assignment in set_ or [] for word in ("--set", assignment)]  # the networks that the weights fit
        say(f"next        {shlex.join(again)} {use}")
