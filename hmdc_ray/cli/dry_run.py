"""What ``hmdc condense --dry-run`` shows: the checked plan of a run, without starting anything."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from hmdc_ray.actors.local import measured_bytes
from hmdc_ray.cli.expected_memory import expected_memory
from hmdc_ray.cli.tables import print_rows
from hmdc_ray.config import ImagesConfig, MemberConfig, RunConfig
from hmdc_ray.config.io import flow
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.description import describe
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.evaluation.mnist import mnist_notes
from hmdc_ray.exchange.call_size import gigabytes
from hmdc_ray.exchange.resources import Resources, resolve, this_machine
from hmdc_ray.exchange.schedule import balance_notes, total_steps
from hmdc_ray.models import Network
from hmdc_ray.run.validate import validate
from hmdc_ray.server.initial_set import describe as describe_initial_set
from hmdc_ray.server.initial_set import read_initial_set, require_apart


def show_plan(config: RunConfig, folder: Path, console: Console) -> None:
    """Check the configuration against its data and print what a run would do.

    Raises:
        InputError: a run would refuse the configuration.
    """
    info = open_dataset(config.data).info
    # Their networks, which may be large, are not needed when memory is measured.
    members = [_member(*pair) for pair in zip(config.pool.members, validate(config, info), strict=True)]
    require_apart(config.images, folder)
    resources = resolve(config, [this_machine()], lambda: measured_bytes(config))
    schedule, images, matching, evaluation = config.schedule, config.images, config.matching, config.evaluation
    distils = "no mutual distillation"
    if matching.mutual_distillation:
        distils = (
            f"mutual distillation {matching.peer_gradient} ({matching.agreement}, aligners trained on "
            f"{min(matching.aligner_images, info.sizes['train'])} images a step)"
        )
    students = ", ".join(student.name for student in evaluation.students) or "no student"
    rows = [
        *describe(info),
        ("images", f"{images.ipc} per class, formation {images.formation}, from {images.initialise}"),
        *_initial_set(images, info),
        (
            "steps",
            f"{total_steps(schedule)} ({schedule.iterations} iterations x {schedule.steps}), training on {schedule.training}",
        ),
        ("targets", f"metric {matching.metric}, balance {config.balance.mode}, {distils}"),
        *members,
        ("evaluation", f"protocol {evaluation.protocol}, {_counted(evaluation.seeds, 'seed')} of {students}"),
        *(("", note) for note in balance_notes(config)),
        *(("", note) for note in mnist_notes(evaluation, info.normalisation)),
        ("baselines", evaluation.baselines),
        ("folder", str(folder)),
        ("resources", f"{resources.line}, on this machine"),
        *_memory(resources, info),
    ]
    print_rows(console, rows)


def _memory(resources: Resources, info: DatasetInfo) -> list[tuple[str, str]]:
    """The classes in a call, and the peak of every process while images are learned."""
    config, expected = resources.config, expected_memory(resources, info)
    chosen = [] if expected.size is None else [expected.size.describe(), expected.size.shortage()]
    no_gpu = f"there is no GPU here for {', '.join(expected.unknown)}"
    if expected.unknown and config.matching.classes_per_call is None:
        chosen = [f"classes per call: chosen when the run starts, because {no_gpu}"]
    elif expected.unknown:
        chosen = [f"of GPUs: not known, because {no_gpu}"]
    parts = ", ".join(f"{name} {gigabytes(count)}" for name, count in expected.parts.items())
    gpus = [f"of GPUs: {name} {gigabytes(count)}" for name, count in expected.on_gpus.items()]
    lines = [f"{gigabytes(expected.total)} at most while images are learned, on this machine alone: {parts}", *gpus, *chosen]
    return [("" if index else "memory", line) for index, line in enumerate(line for line in lines if line)]


def _initial_set(images: ImagesConfig, info: DatasetInfo) -> list[tuple[str, str]]:
    found = read_initial_set(images, info)
    return [] if found is None else [("", note) for note in describe_initial_set(found, info)]


def _member(member: MemberConfig, network: Network) -> tuple[str, str]:
    parameters = sum(parameter.numel() for parameter in network.parameters())
    what = member.architecture + (f" {flow(member.options)}" if member.options else "")
    own = f", normalised by its own {network.own}" if network.renormalises else ""
    return f"member {member.name}", f"{what}, {parameters:,} parameters, {_counted(len(network.taps), 'tap')}{own}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
