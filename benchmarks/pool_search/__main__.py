"""The command ``python -m benchmarks.pool_search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hmdc_ray.cli.console import console, run_alone, say


def pool_search(
    output: Annotated[Path, typer.Option(help="Folder for the search and its results; a study that was stopped is resumed.")],
    data: Annotated[
        str | None, typer.Option(help="Images as a Parquet file or a folder of them; without it, the built-in digits.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of the search, and seeds of the uniform pool beside it.")] = 30,
    concurrent: Annotated[int, typer.Option(min=1, help="Trials at a time.")] = 2,
    seeds: Annotated[int, typer.Option(min=2, help="Fresh seeds on which both are compared.")] = 5,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.field=value; may be repeated.")] = None,
) -> None:
    """Search probabilities and weights of a pool of four, and compare the best with the uniform
    pool on fresh seeds."""
    # Not before the arguments are known to be good: Ray and torch take seconds to import.
    from benchmarks.pool_search.study import SPACE, PoolSearchStudy
    from hmdc_ray.cli.search_terminal import TerminalSearch
    from hmdc_ray.search.settings import SearchSettings

    settings = SearchSettings(space=SPACE, trials=trials, concurrent=concurrent)
    if data is None:
        say("no --data: the study takes the built-in digits")
    progress = TerminalSearch(console)
    PoolSearchStudy(output, settings, seeds, set_ or [], progress, progress.stage, data).run()
    say((output / "table.md").read_text())


if __name__ == "__main__":
    run_alone(pool_search)
