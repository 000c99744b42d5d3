"""What ``hmdc condense --dry-run`` shows: the checked plan of a run, without starting anything."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.evaluation.plan import plan
from hmdc_ray.schedule import total_steps
from hmdc_ray.validate import validate


def show_plan(config: RunConfig, folder: Path, console: Console) -> None:
    """Check the configuration against its data and print what a run would do.

    Raises:
        InputError: as a run would.
    """
    info = open_dataset(config.data).info
    networks = validate(config, info)
    schedule, images = config.schedule, config.images
    rows = [
        (
            "data",
            f"{info.source}: {len(info.class_names)} classes, {info.shape}, {dict(info.sizes)}, fingerprint {info.fingerprint}",
        ),
        ("images", f"{images.ipc} per class, formation {images.formation}, from {images.initialise}"),
        (
            "steps",
            f"{total_steps(schedule)} ({schedule.iterations} iterations x {schedule.steps}), training on {schedule.training}",
        ),
        ("targets", f"metric {config.matching.metric}, balance {config.balance.mode}, {_distillation(config)}"),
        ("evaluation", f"{len(plan(config.evaluation))} students, protocol {config.evaluation.protocol}"),
        ("folder", str(folder)),
    ]
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    for member, network in zip(config.pool.members, networks, strict=True):
        parameters = sum(parameter.numel() for parameter in network.parameters())
        text = f"{member.architecture} {member.options or ''} {parameters:,} parameters, {len(network.taps)} taps"
        table.add_row(f"member {member.name}", " ".join(text.split()))
    console.print(table)


def _distillation(config: RunConfig) -> str:
    matching = config.matching
    return f"mutual distillation {matching.peer_gradient}" if matching.mutual_distillation else "no mutual distillation"
