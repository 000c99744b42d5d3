"""The command ``hmdc plan``: what a larger pool would take, from a short measured profile of a
small one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hmdc_ray.cli.configuration import read_configuration
from hmdc_ray.cli.console import Assignments, Data, console, report, say
from hmdc_ray.cli.tables import print_table

if TYPE_CHECKING:
    from hmdc_ray.profiling.capacity import Prediction

GBIT = 1e9 / 8
MB = 1e6


def plan(
    configuration: Annotated[str, typer.Argument(metavar="PRESET|FILE.yaml", help="Preset, YAML file, or folder of a run.")],
    members: Annotated[int | None, typer.Option(min=1, help="Members drawn for an iteration; the pool's without it.")] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Workers of each member.")] = 1,
    gpus_per_node: Annotated[int, typer.Option(min=0, help="GPUs of a node, for members that ask for some.")] = 8,
    cores_per_node: Annotated[int, typer.Option(min=1, help="Cores of a node, for members that run on CPUs.")] = (
        os.cpu_count() or 1
    ),
    network: Annotated[float, typer.Option(min=0.001, help="Network between nodes in Gbit/s.")] = 10.0,
    steps: Annotated[int, typer.Option(min=1, help="Steps measured after one to warm up.")] = 1,
    check: Annotated[bool, typer.Option("--check", help="Also run the pool asked for, here.")] = False,
    data: Data = None,
    set_: Assignments = None,
) -> None:
    """Measure steps of the pool; predict memory, bytes and seconds of a step of a larger one."""
    config = read_configuration(configuration, set_, {"data.source": data})
    # Not before the arguments are known to be good: Ray and torch take seconds to import.
    from hmdc_ray.config.base import AUTO
    from hmdc_ray.profiling.capacity import Cluster, count_nodes, predict
    from hmdc_ray.profiling.check import check as run
    from hmdc_ray.profiling.check import repeated
    from hmdc_ray.profiling.profile import profile

    cluster = Cluster(gpus_per_node, cores_per_node, network * GBIT)
    count_nodes([0.0 if member.num_gpus == AUTO else member.num_gpus for member in config.pool.members], cluster)
    measured = profile(config, steps, report)
    small = predict(measured, len(measured.members), 1, cluster)
    members = members or len(measured.members)
    large = predict(measured, members, replicas, cluster, repeated(config, members, replicas).server_shards)
    print_table(console, _table(small, large))
    if check:
        checked = run(config, members, replicas, steps, report)
        peaks = ", ".join(f"{name} {_megabytes(count)}" for name, count in checked.worker_peak_bytes.items())
        server = _megabytes(checked.server_peak_bytes)
        say(f"run here: {checked.seconds_per_step:.3f} seconds, MB of a worker: {peaks}; of the server: {server}")


def _table(small: Prediction, large: Prediction) -> Table:
    """The measured pool and the one asked for, side by side."""
    from hmdc_ray.profiling.capacity import largest_memory

    table = Table(title="A step, predicted", title_justify="left", title_style="bold", header_style="", box=None)
    table.add_column("")
    for name in ("measured pool", "pool asked for"):
        table.add_column(name, justify="right")

    def row(name: str, *cells: str) -> None:
        table.add_row(name, *cells)

    pools = (small, large)
    row("members", *("\n".join(f"{count} x {name}" for name, count in pool.counts.items()) for pool in pools))
    row("workers", *(str(pool.workers) for pool in pools))
    row("nodes", *(str(pool.nodes) for pool in pools))
    for name in small.worker_peak_bytes:
        cells = (pool.worker_peak_bytes.get(name) for pool in pools)
        row(f"MB of a worker of {name}", *map(_megabytes, cells))
    row("MB of the server", *(_megabytes(pool.server_peak_bytes) for pool in pools))
    row("MB of the fullest node", *(f"{largest_memory(pool) / MB:,.0f}" for pool in pools))
    row("MB moved", *(f"{pool.bytes_per_step / MB:,.1f}" for pool in pools))
    for part in small.parts:
        row(f"seconds, {part}", *(f"{pool.parts[part]:.3f}" for pool in pools))
    row("seconds", *(f"{pool.seconds_per_step:.3f}" for pool in pools))
    row("takes most", *(pool.bottleneck for pool in pools))
    return table


def _megabytes(count: float | None) -> str:
    return f"{count / MB:,.0f}" if count else "-"
