"""The command ``python -m benchmarks.simulation``."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Annotated

import typer
from rich.table import Table

from benchmarks.bench.configuration import bench_config
from hmdc_ray.cli.console import console, run_alone
from hmdc_ray.cli.tables import print_table

COLUMNS = (
    "members",
    "seconds",
    "computing",
    "outside",
    "server s",
    "server share",
    "busiest s",
    "busiest share",
    "GB in",
    "MB server",
    "MB driver",
    "GB machine",
)


def simulation(
    members: Annotated[list[int] | None, typer.Option(min=2, help="Members; may be repeated.")] = None,
    classes: Annotated[int, typer.Option(min=1, help="Classes.")] = 100,
    side: Annotated[int, typer.Option(min=16, help="Height and width of the images.")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="Steps of a real member that are measured first.")] = 1,
    compute: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds of computation for a class, all in the second exchange; else measured."),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.field=value; may be repeated.")] = None,
) -> None:
    """Run one step of pools of many members: real server, real exchange, members that wait as long
    as one computes.

    No data set is needed: how long a member computes is measured on images of noise, of the size
    and number asked for.
    """
    assignments = ["images.ipc=50", "images.formation=1", "matching.classes_per_call=5", *(set_ or [])]
    config = bench_config("digits", 1, assignments)
    # Not before the arguments are known to be good: Ray and torch take seconds to import.
    from benchmarks.simulation.measure import measured, sent
    from benchmarks.simulation.run import simulate, table_rows

    report = partial(print, flush=True)
    # In a process of its own, whose memory is not the driver's.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        if compute is None:
            report("no data set is needed: a member is measured on images of noise")
            profiled = executor.submit(measured, config, side, steps, report)
        else:
            profiled = executor.submit(sent, config, side, {"features": 0.0, "match": compute, "pull_back": 0.0})
        sizes, taps = profiled.result()
    report(", ".join(f"{name} {seconds:.2f} s a class" for name, seconds in sizes.seconds.items()))
    results = [simulate(config, count, classes, sizes, taps, report) for count in members or [2, 8, 64]]
    table = Table(title=f"A step, {classes} classes of {side}x{side}", title_justify="left", header_style="", box=None)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for row in table_rows(results):
        table.add_row(*row)
    print_table(console, table)


if __name__ == "__main__":
    run_alone(simulation)
