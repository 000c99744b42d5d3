"""The command ``python -m benchmarks.bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.bench.configuration import bench_config, tracked_config
from hmdc_ray.cli.console import console, report, run_alone, say

PAIRS = 7
"""Iterations measured with tracking, and as many without."""

STARTS = 5
"""Starts of a command measured, and as many of bare actors."""


def bench(
    data: Annotated[
        str | None,
        typer.Option(help="CIFAR-10 as a Parquet file or a folder of them; without it, the built-in digits in its shape."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps measured after one to warm up.")] = 3,
    trace: Annotated[
        Path | None, typer.Option(help="File (.json, .json.gz) for a trace of one process' first step, for Perfetto or Chrome.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.field=value; may be repeated.")] = None,
) -> None:
    """Measure a step with the pool as actors and in one process: seconds by phase, bytes moved,
    memory; the step against the floor of its arithmetic; the copies and synchronisations of a GPU;
    the time to the first step; and what tracking with a slow server costs."""
    config = bench_config(data, steps, set_ or [])
    if data is None:
        say("on the built-in digits as 32x32 in colour, the shape of CIFAR-10; give --data for CIFAR-10 itself")
    if trace is not None:
        from benchmarks.bench.trace import check_trace

        check_trace(trace)
    # Not before the arguments are known to be good: Ray and torch take seconds to import.
    from benchmarks.bench.report import print_against_plain, print_bench, print_startup, print_tracking, print_waits
    from benchmarks.bench.startup import measure_startup
    from benchmarks.bench.tracking import measure_tracking
    from benchmarks.bench.waits import measure_waits, waits_config
    from hmdc_ray.profiling.measure import measure, measure_against_plain

    measured = measure(config, steps, report)
    print_bench(measured, console)
    print_against_plain(measure_against_plain(measured, report), measured, console)
    if trace is not None:
        from benchmarks.bench.trace import write_trace

        write_trace(config, measured.info, trace, report)
    report("counting what a GPU would wait for")
    print_waits(measure_waits(waits_config()), console)
    print_startup(measure_startup(STARTS, report), console)
    print_tracking(measure_tracking(tracked_config(), PAIRS, report), console)


if __name__ == "__main__":
    run_alone(bench)
