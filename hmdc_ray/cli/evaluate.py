"""The command ``hmdc evaluate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hmdc_ray.cli.console import Address, Assignments, Data, console, errors, say, shown
from hmdc_ray.config.io import apply_overrides

if TYPE_CHECKING:
    from hmdc_ray.config import RunConfig
    from hmdc_ray.evaluation.earlier import Earlier
    from hmdc_ray.evaluation.report import Evaluation
    from hmdc_ray.evaluation.sets import Sets


def evaluate(
    images: Annotated[
        list[Path], typer.Argument(metavar="DIR|FILE.parquet...", help="Folders of runs, or condensed sets as files.")
    ],
    data: Data = None,
    protocol: Annotated[str | None, typer.Option(help="Training recipe of the students: dc, idc, hmdc.")] = None,
    architectures: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated students: names, timm:NAME, torchvision:NAME, import paths; without it, the run's own."
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="INTEGER", help="Networks per architecture.")] = None,
    baselines: Annotated[str | None, typer.Option(help="Real images to compare with: none, random, kmeans, both.")] = None,
    distill: Annotated[bool, typer.Option("--distill", help="Students learn from a ConvNet teacher too.")] = False,
    temperatures: Annotated[
        str | None,
        typer.Option(metavar="1,1.5,4", help="Temperatures of that; of several, the best on validation data is used."),
    ] = None,
    set_: Assignments = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Train again only who failed: in the run's evaluation.json, or in --output.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Also write the numbers to this file, and figures beside it.")
    ] = None,
    address: Address = None,
) -> None:
    """Train networks on condensed images and compare with as many real ones, or with other sets.

    Real images are those of the first set's data. Of several sets, every other one is compared with
    the first.
    """
    from hmdc_ray.cli.failed import end_if_students_failed
    from hmdc_ray.condensed import load_condensed
    from hmdc_ray.evaluation.earlier import Earlier
    from hmdc_ray.evaluation.request import evaluation_config, evaluation_file, set_names

    names = set_names(images)
    file, prefix = output, "" if output is None else f"{output.stem}-"
    earlier = None
    if failed:
        file = file or evaluation_file(images)
        earlier = Earlier.read(file)
        if not earlier.failed:
            say(f"no student has failed in {shown(file)}")
            return
    loaded = [load_condensed(path) for path in images]
    config = evaluation_config(
        loaded[0],
        data=data,
        architectures=architectures,
        assignments=set_ or [],
        distill=distill,
        temperatures=temperatures,
    )
    wanted = {"protocol": protocol, "seeds": seeds, "baselines": baselines}
    config = apply_overrides(config, [f"evaluation.{name}={value}" for name, value in wanted.items() if value is not None])
    condensed = loaded[0] if len(loaded) == 1 else dict(zip(names, loaded, strict=True))
    result = _judged(condensed, config, address, earlier)
    if file is not None:
        _write(result, condensed, file, prefix)
    end_if_students_failed(result, sys.argv[1:], file)


def _judged(condensed: Sets, config: RunConfig, address: str | None, earlier: Earlier | None) -> Evaluation:
    """Train and test the students with progress on the terminal; a signal ends the command with its
    number."""
    from hmdc_ray.cli.terminal import TerminalProgress
    from hmdc_ray.run.evaluate import evaluate as run
    from hmdc_ray.system.signals import Interrupted

    progress = TerminalProgress(console)
    try:
        with progress:
            return run(condensed, config, address=address, progress=progress, earlier=earlier)
    except Interrupted as stopped:
        errors.print(f"{stopped} {progress.position}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(128 + stopped.signal_number) from None


def _write(result: Evaluation, condensed: Sets, file: Path, prefix: str) -> None:
    """Write the numbers to the file, and figures beside it, and say so."""
    from hmdc_ray.evaluation.sets import named_sets
    from hmdc_ray.figures.write import write_figures

    result.write(file)
    say(f"accuracies  {shown(file)}")
    if result.rows:
        for picture in write_figures(result, named_sets(condensed), file.parent, prefix=prefix):
            say(f"figure      {shown(picture)}")
