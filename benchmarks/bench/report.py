"""The measurements as tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.bench.startup import ACTORS, Startup
from benchmarks.bench.tracking import TrackingCost
from hmdc_ray.cli.tables import print_table
from hmdc_ray.profiling.floor import Floor
from hmdc_ray.profiling.measure import AgainstPlain, Bench
from hmdc_ray.profiling.operations import total
from hmdc_ray.profiling.rates import has_bfloat16_units
from hmdc_ray.profiling.steps import ONE_PROCESS, Measurement
from hmdc_ray.profiling.traffic import DRIVER, SERVER

if TYPE_CHECKING:
    from benchmarks.pretend_device import Kind

MB = 1e6
NOTHING = "-"

OPERATORS = 15
"""Number of operators with a row of their own."""


def print_bench(bench: Bench, console: Console) -> None:
    """Print everything that was measured."""
    config, steps = bench.config, len(bench.actors.steps)
    console.print(
        f"{bench.info.source}: {len(bench.info.class_names)} classes, {bench.info.shape}; {len(bench.workers)} members, "
        f"{config.images.ipc} images per class, f {config.images.formation}, real batch {config.matching.real_batch}; "
        f"{config.threads} thread(s) per process, {os.cpu_count()} processors; "
        f"median of {steps} step(s) after one to warm up",
        highlight=False,
        soft_wrap=True,
    )
    _print(console, _steps(bench), _phases(bench), _traffic(bench), _memory(bench))


def print_against_plain(against: AgainstPlain, bench: Bench, console: Console) -> None:
    """Print the floor of a step, and how the layers made for gradient matching compare with torch's
    own."""
    _print(console, _floor(against, bench), _agreement(against), _operators(against.floor))


def print_tracking(cost: TrackingCost, console: Console) -> None:
    """Print what tracking costs."""
    table = _table(f"Tracking in MLflow, by a server that answers after {cost.delay:g} s", ["", "seconds", "lowest", "highest"])
    for name, seconds in (("tracked", cost.tracked), ("not tracked", cost.untracked)):
        numbers = (median(seconds), min(seconds), max(seconds))
        table.add_row(f"iteration of {cost.steps} steps, {name}", *(f"{number:.3f}" for number in numbers))
    table.add_row(f"slowdown, median of {len(cost.tracked)} neighbouring pairs", f"{cost.slowdown:.1%}")
    _print(console, table)


def print_startup(startup: Startup, console: Console) -> None:
    """Print how long a command takes to its first step."""
    table = _table("Start", ["", "seconds", "lowest", "highest"])
    names = ("hmdc condense digits, to its first image step", f"Ray and {ACTORS} actors that import torch, started at once")
    for name, seconds in zip(names, (startup.condense, startup.bare), strict=True):
        table.add_row(name, *(f"{number:.1f}" for number in (median(seconds), min(seconds), max(seconds))))
    table.add_row(f"ratio, median of {len(startup.bare)} neighbouring pairs", f"{startup.ratio:.2f}")
    _print(console, table)


def print_waits(waits: Mapping[str, Mapping[Kind, int]], console: Console) -> None:
    """Print what a GPU would have to do with the host, step by step, and the sum of it."""
    kinds = list(dict.fromkeys(kind for counts in waits.values() for kind in counts))
    what = "4 classes, 2 members, 3 batches in a training, 3 and one that measures in one of aligners"
    table = _table(f"What a GPU would do with the host, counted on a pretended one: {what}", ["", *kinds, "all"])
    for name, counts in waits.items():
        numbers = [counts[kind] for kind in kinds]
        table.add_row(name, *map(str, [*numbers, sum(numbers)]))
    _print(console, table)


def _print(console: Console, *tables: Table) -> None:
    for table in tables:
        console.print()
        print_table(console, table)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="", box=None)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position else "left", no_wrap=position > 0)
    return table


def _steps(bench: Bench) -> Table:
    table = _table("Step", ["", "seconds", "lowest", "highest", "processor time", "load before"])
    for name, measurement in (("actors", bench.actors), (ONE_PROCESS, bench.one_process)):
        seconds = [step.seconds for step in measurement.steps]
        cpu = median(sum(step.cpu_seconds.values()) for step in measurement.steps)
        numbers = (measurement.seconds, min(seconds), max(seconds), cpu, measurement.load)
        table.add_row(name, *(f"{number:.2f}" for number in numbers))
    outside = median(step.outside(bench.workers) for step in bench.actors.steps)
    table.add_row("ratio: actors are so many times as fast", f"{bench.ratio:.2f}")
    table.add_row("share of an actor step outside the busiest worker's computation", f"{outside:.1%}")
    return table


def _floor(against: AgainstPlain, bench: Bench) -> Table:
    """One process' step compared with its arithmetic and with torch's own layers, and what k-means
    adds to it."""
    floor = against.floor
    table = _table("One process' step against the floor of its arithmetic", ["", "median", "lowest", "highest"])

    def row(name: str, values: Sequence[float], form: str) -> None:
        table.add_row(name, *(format(value, form) for value in (median(values), min(values), max(values))))

    row("matrix product, GFLOP/s", [rate / 1e9 for rate in floor.rates], ".0f")
    table.add_row("operations of a step, TFLOP", f"{floor.operations / 1e12:.3f}")
    table.add_row("floor: operations at that rate, s", f"{floor.seconds:.2f}")
    table.add_row(f"roofline: each operator at that rate or at {floor.bandwidth / 1e9:.1f} GB/s, s", f"{floor.roofline:.2f}")
    table.add_row(f"step with torch's own layers over floor, {floor.plain_seconds:.2f} s", f"{floor.plain_multiple:.2f}")
    row("step over floor", floor.multiples([step.seconds for step in bench.one_process.steps]), ".2f")
    units = "has" if has_bfloat16_units() else "has no"
    row("matrix product in bfloat16, GFLOP/s", [rate / 1e9 for rate in against.bfloat16.rates], ".0f")
    ratios = [seconds / bench.one_process.seconds for seconds in against.bfloat16.seconds]
    row(f"step in bfloat16 over the median one in float32; this processor {units} matrix units for it", ratios, ".2f")
    period = bench.config.matching.sampler_period
    for name, seconds in against.kmeans.items():
        kmeans = f"k-means over all images by {name}, {seconds:.1f} s every {period} steps, adds to"
        own = median(step.busy(name) for step in bench.one_process.steps)
        table.add_row(f"{kmeans} its own part of a step", f"{seconds / period / own:.1%}")
        table.add_row(f"{kmeans} a step", f"{seconds / period / bench.one_process.seconds:.1%}")
        table.add_row(f"{kmeans} an actor step", f"{seconds / period / bench.actors.seconds:.1%}")
    return table


def _agreement(against: AgainstPlain) -> Table:
    columns = ["target", "difference", "cosine", "bfloat16: difference", "cosine"]
    table = _table("Gradients with respect to the images, first step, against those of torch's own layers", columns)
    for name, agreement in against.agreement.items():
        pair = (agreement, against.bfloat16_agreement[name])
        table.add_row(name, *(cell for found in pair for cell in (f"{found.error:.1e}", f"{found.cosine:.6f}")))
    return table


def _operators(floor: Floor) -> Table:
    """Where a step with torch's own layers spends its time."""
    columns = ["operator", "calls", "TFLOP", "GB", "roofline s", "seconds"]
    table = _table("Operators of a step with torch's own layers, the slowest first", columns)
    counts = sorted(floor.counts.items(), key=lambda item: -item[1].seconds)
    shown, rest = counts[:OPERATORS], [count for _, count in counts[OPERATORS:]]
    for name, count in [*shown, ("all others", total(rest)), ("all", total(count for _, count in counts))]:
        numbers = (f"{count.operations / 1e12:.3f}", f"{count.moved / 1e9:.1f}", f"{count.limit:.2f}", f"{count.seconds:.2f}")
        table.add_row(name, f"{count.calls:,}", *numbers)
    return table


def _phases(bench: Bench) -> Table:
    processes = [*bench.workers, SERVER]
    columns = [f"{where}\n{name}" for where in ("actors", ONE_PROCESS) for name in processes]
    table = _table("Seconds per step by phase", ["phase", *columns])
    halves = (bench.actors, bench.one_process)
    columns_of = [(half.steps, name) for half in halves for name in processes]
    for owners in (bench.workers, [SERVER]):
        for phase in _names(halves, owners):
            cells = [_median(step.phases.get(name, {}).get(phase) for step in steps) for steps, name in columns_of]
            table.add_row({"apply": "apply (image step)"}.get(phase, phase), *cells)
    busy = [_median(step.busy(name) for step in steps if name in step.phases) for steps, name in columns_of]
    table.add_row("all phases", *busy, style="bold")
    actors = bench.actors.steps
    table.add_row("waiting, moving", *(_median(step.seconds - step.busy(name) for step in actors) for name in bench.workers))
    table.add_row("processor time", *(_median(step.cpu_seconds.get(name) for step in actors) for name in processes))
    return table


def _names(halves: Sequence[Measurement], processes: Sequence[str]) -> Iterator[str]:
    """Phases of these processes in the order in which they first appear."""
    steps = [step for half in halves for step in half.steps]
    return iter(dict.fromkeys(phase for step in steps for name in processes for phase in step.phases.get(name, {})))


def _median(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known):.3f}" if known else NOTHING


def _traffic(bench: Bench) -> Table:
    processes = [*bench.workers, SERVER, DRIVER]
    calls = dict.fromkeys(call for _, call in bench.traffic)
    table = _table("MB per step that a process receives from others, by call", ["call", *processes, "all"])
    for call in calls:
        row = [bench.traffic.get((process, call), 0.0) for process in processes]
        table.add_row(call, *map(_megabytes, [*row, sum(row)]))
    totals = [sum(count for (name, _), count in bench.traffic.items() if name == process) for process in processes]
    table.add_row("all calls", *map(_megabytes, [*totals, sum(totals)]), style="bold")
    return table


def _memory(bench: Bench) -> Table:
    table = _table("Memory in MB", ["process", "peak", "decoded data, resident", "decoded data, share of it"])
    for name, use in (*bench.actors.processes.items(), *bench.one_process.processes.items()):
        sizes = (use.peak_bytes, use.data_resident_bytes, use.data_share_bytes)
        table.add_row(name, *map(_megabytes, sizes))
    actors = bench.actors.processes.values()
    sums = (sum(use.data_resident_bytes for use in actors), sum(use.data_share_bytes for use in actors))
    pixels = sum(bench.info.sizes.values()) * bench.info.shape.values
    table.add_row(f"all of the actors' run ({_megabytes(pixels)} of pixels)", "", *map(_megabytes, sums), style="bold")
    return table


def _megabytes(count: float) -> str:
    return f"{count / MB:,.3f}" if count else NOTHING
