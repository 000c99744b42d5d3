"""What is pre-trained: the networks that a configuration names, each with the recipe of its
whole-data student."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from hmdc_ray.config import DataConfig, MemberConfig, NetworkSection, Precision, RunConfig, StudentConfig
from hmdc_ray.config.statistics import OWN
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.mnist import with_mnist
from hmdc_ray.evaluation.protocol import Recipe, recipe
from hmdc_ray.evaluation.request import split_names
from hmdc_ray.evaluation.trial import network_number
from hmdc_ray.matching.rehearsal import rehearse_training
from hmdc_ray.models.precision import gpu_format
from hmdc_ray.models.registry import build_section
from hmdc_ray.seeding import Key

DEFAULT_EPOCHS = 30
"""Epochs E of the recipe where ``evaluation.whole_data_epochs`` says nothing."""

MeasuredSplit = Literal["validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a worker needs to know.

    Attributes:
        data: section ``data`` of the configuration, with absolute paths.
        networks: networks in the order of training, each with its own name.
        recipes: recipe of each network.
        seed: seed of all draws.
        split: split on which accuracy is measured.
        threads: torch threads of a worker, at least 1; one until :meth:`with_workers`.
        precision: ``matching.precision``, which sets the number format of GPUs; None: the workers
            train on CPUs, or it is not known yet.
        checkpoint_seconds: least seconds between two checkpoints, which are made at the ends of
            epochs.
    """

    data: DataConfig
    networks: tuple[StudentConfig, ...]
    recipes: tuple[Recipe, ...]
    seed: int
    split: MeasuredSplit
    threads: int
    precision: Precision | None
    checkpoint_seconds: float

    def with_workers(self, threads: int, num_gpus: float, precision: Precision) -> Plan:
        """The plan for workers that have so many threads and GPUs."""
        return replace(self, threads=threads, precision=precision if num_gpus > 0 else None)

    def identity(self, info: DatasetInfo) -> dict[str, Any]:
        """Values that a resumed training must share with the one that was begun, by name, as JSON
        gives them back.

        Args:
            info: description of the data, with the statistics in use.
        """
        found: dict[str, Any] = {
            "data fingerprint": info.fingerprint,
            "data.statistics": info.statistics or OWN,
            "seed": self.seed,
            "split": self.split,
            "cluster.threads": self.threads,
            "networks": ", ".join(network.name for network in self.networks),
            "GPU format": None if self.precision is None else gpu_format(self.precision),
        }
        for network, chosen in zip(self.networks, self.recipes, strict=True):
            fields = network.model_dump(mode="json", exclude={"name", "learning_rate"}) | asdict(chosen)
            found |= {f"{network.name}.{field}": str(value) for field, value in fields.items()}
        return found


def make_plan(
    config: RunConfig, info: DatasetInfo, architectures: str | None, split: MeasuredSplit, checkpoint_seconds: float
) -> Plan:
    """Choose the networks, build each once, and try a step of its training.

    A network is trained by the recipe of the configuration's whole-data student: its protocol,
    ``whole_data_epochs`` epochs (:data:`DEFAULT_EPOCHS` where there are none), the augmentation
    families of the matching where the evaluation names none.

    Args:
        config: the configuration, with absolute paths.
        info: description of the data.
        architectures: comma-separated names: members of the pool, students, or architectures with
            default options. None: all members but those with random options, whose weights would
            fit no redrawn network, and all students of other names.
        split: split on which accuracy is measured.
        checkpoint_seconds: least seconds between two checkpoints.

    Raises:
        InputError: a network is unknown, does not accept the images, cannot be trained, or has
            random options; a name is given twice; the split has no images.
    """
    networks = _chosen(config, architectures)
    settings = config.evaluation
    settings = settings.model_copy(update={"families": settings.families or config.matching.families})
    settings = with_mnist(settings, info.normalisation)
    epochs = settings.whole_data_epochs or DEFAULT_EPOCHS
    for network in networks:
        shape, classes, key = info.shape, len(info.class_names), Key(0, "network")
        try:
            built = build_section(network, shape, classes, key, info.normalisation)
        except InputError as error:
            raise InputError(f"network {network.name!r}: {error}") from error
        try:
            rehearse_training(built, min(2, info.sizes["train"]))
        except InputError as error:
            raise InputError(f"network {network.name!r} ({network.architecture!r}) {error}") from error
    if not info.sizes[split]:
        raise InputError(
            f"--split is {split!r}, which has no images in data {info.source!r}: set a larger data.{split}_fraction"
        )
    return Plan(
        data=config.data,
        networks=networks,
        recipes=tuple(replace(recipe(settings).for_student(network), epochs=epochs) for network in networks),
        seed=config.seed,
        split=split,
        threads=1,
        precision=None,
        checkpoint_seconds=checkpoint_seconds,
    )


def network_key(seed: int, network: StudentConfig) -> Key:
    """Key of a network's draws, made from the network itself: its place in a list must not change
    its numbers."""
    return Key(seed, "network", member=network_number(network, network.weights))


def _chosen(config: RunConfig, architectures: str | None) -> tuple[StudentConfig, ...]:
    members = {member.name: member for member in config.pool.members}
    students = {student.name: student for student in config.evaluation.students}
    if architectures is None:
        fixed = [member.name for member in config.pool.members if not member.random_options]
        names = [*fixed, *(name for name in students if name not in members)]
        if not names:
            raise InputError("every member of the pool has random options: name what to train with --architectures")
    else:
        names = split_names(architectures)
    networks = tuple(_network(name, members, students) for name in names)
    found = [network.name for network in networks]
    for name in found:
        if found.count(name) > 1:
            raise InputError(f"--architectures is {architectures!r}, where {name!r} is given twice: name each network once")
    return networks


def _network(name: str, members: dict[str, MemberConfig], students: dict[str, StudentConfig]) -> StudentConfig:
    """The member of this name, else the student, else the architecture. A student equal to the
    member lends its rate."""
    student = students.get(name)
    if name not in members:
        return student or StudentConfig(architecture=name)
    member = members[name]
    if member.random_options:
        raise InputError(
            f"pool.members.{name} redraws its options {', '.join(member.random_options)} for every iteration, so that no "
            "weights fit it: leave it out, or give it fixed 'options'"
        )
    network = StudentConfig.model_validate({field: getattr(member, field) for field in NetworkSection.model_fields})
    return student if student is not None and student.model_copy(update={"learning_rate": None}) == network else network
