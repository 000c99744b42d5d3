"""The command ``python -m benchmarks.study``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hmdc_ray.cli.console import console, run_alone, say


def study(
    output: Annotated[Path, typer.Option(help="Folder for condensed sets and results; a study that was stopped is resumed.")],
    data: Annotated[
        str | None, typer.Option(help="Images as a Parquet file or a folder of them; the digits without it.")
    ] = None,
    statistics: Annotated[str | None, typer.Option(help="Known statistics, such as mnist; computed without it.")] = None,
    sets: Annotated[int, typer.Option(min=2, help="Condensed sets of every row.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Students of every architecture on each set.")] = 3,
    mutual_distillation: Annotated[bool, typer.Option(help="Also the rows with mutual distillation.")] = True,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.field=value; may be repeated.")] = None,
) -> None:
    """Compare pools with and without balancing and distillation: learning rates from validation,
    accuracies on test."""
    # Not before the arguments are known to be good: Ray and torch take seconds to import.
    from benchmarks.study.run import Study

    if data is None:
        say("no --data: the study takes the built-in digits")
    table = Study(data or "digits", statistics, output, sets, seeds, mutual_distillation, set_ or [], say).run()
    console.print(table.terminal())
    say(f"the same in Markdown: {output / 'table.md'}")


if __name__ == "__main__":
    run_alone(study)
