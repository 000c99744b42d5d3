"""Two tiny networks on three classes of 8x8 grey images, one step of which is measured in every
way."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO

from rich.console import Console

from benchmarks.bench.configuration import bench_config
from benchmarks.bench.report import print_against_plain, print_bench
from hmdc_ray.config import DataConfig
from hmdc_ray.profiling.measure import AgainstPlain, Bench, measure, measure_against_plain

MEMBERS = ", ".join(
    f"{{name: {name}, architecture: convnet, options: {{width: 4, depth: {depth}}}}}" for name, depth in (("a", 1), ("a_b", 2))
)
TINY = [
    f"pool.members=[{MEMBERS}]",
    "matching.real_batch=5",
    "matching.classes_per_call=2",
    "images.ipc=1",
    "schedule.real_images=8",
    "matching.aligner_images=8",
    "schedule.batch=4",
]


@dataclass(frozen=True)
class Measured:
    bench: Bench
    against: AgainstPlain
    lines: list[str]
    printed: str


def measure_a_step(data: DataConfig) -> Measured:
    lines: list[str] = []
    bench = measure(bench_config(data.source, 1, [*TINY, f"data.cache={data.cache}"]), 1, lines.append)
    against = measure_against_plain(bench, lines.append)
    printed = StringIO()
    console = Console(file=printed, width=140)
    print_bench(bench, console)
    print_against_plain(against, bench, console)
    return Measured(bench, against, lines, printed.getvalue())
