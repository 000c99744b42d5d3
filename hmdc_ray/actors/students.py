"""GPUs and threads of an evaluation's students: what ``auto`` means on the cluster that this
process is connected to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hmdc_ray.actors.nodes import UNSEEN, cluster_nodes, probe_gpu, require_gpus
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import RunConfig
from hmdc_ray.config.base import AUTO
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.evaluation.conduct import planned_tasks
from hmdc_ray.evaluation.protocol import recipe
from hmdc_ray.exchange.call_size import GB, GPU_PART
from hmdc_ray.exchange.resources import Node, threads_for
from hmdc_ray.matching.footprint import training_bytes
from hmdc_ray.models.registry import build_section
from hmdc_ray.seeding import Key

CONTEXT = 0.6 * GB
"""Bytes that CUDA takes on a GPU for a process, before its first tensor."""


@dataclass(frozen=True)
class StudentResources:
    """What was resolved.

    Attributes:
        config: the run, whose evaluation has numbers for GPUs and threads.
        line: description for people, such as ``45 trainings, 2 at a time, 1 thread each``.
    """

    config: RunConfig
    line: str


def find_student_resources(sets: Mapping[str, CondensedSet], config: RunConfig) -> StudentResources:
    """Choose the GPUs and threads of students that the configuration leaves open.

    Args:
        sets: condensed sets that are judged.
        config: the run.

    Raises:
        InputError: no node has as many GPUs as a student asks for.
    """
    require_gpus(config.evaluation)
    nodes, first = cluster_nodes(), next(iter(sets.values()))
    tasks = planned_tasks(sets, config)
    trainings = sum(map(len, tasks))
    largest = max((node.gpus for node in nodes), default=0.0)
    gpus, why = config.evaluation.num_gpus, ""
    if gpus == AUTO:
        gpus, why = _part(first, config, max(map(len, tasks), default=1)) if largest else 0.0, " (there is no GPU)"
        if largest and not gpus:
            why = f" ({UNSEEN})"
    hosts = [node for node in nodes if node.gpus] if gpus else nodes
    places = sum(_places(node, gpus) for node in hosts) if gpus else len(tasks)
    threads = config.evaluation.threads
    if threads == AUTO:
        threads = threads_for([node.cpus for node in hosts], max(1, min(len(tasks), places)))
    side_by_side = max(1, min(places, len(tasks), sum(int(node.cpus // min(threads, node.cpus or 1)) for node in hosts)))
    where = f"on {sum(node.gpus for node in hosts):g} x {hosts[0].gpu or 'GPU'}, {gpus:g} each" if gpus else f"on the CPU{why}"
    grouped = f" in {len(tasks)} groups" if len(tasks) < trainings else ""
    line = f"{trainings} training{'' if trainings == 1 else 's'}{grouped} {where}, {side_by_side} at a time, "
    line += f"{threads} thread{'' if threads == 1 else 's'} each"
    evaluation = config.evaluation.model_copy(update={"num_gpus": gpus, "threads": threads})
    return StudentResources(config.model_copy(update={"evaluation": evaluation}), line)


def _places(node: Node, gpus: float) -> int:
    """Trainings that a node's GPUs hold at a time."""
    return int(node.gpus / gpus + 1e-6) if gpus >= 1 else int(node.gpus) * int(1 / gpus + 1e-6)


def _part(condensed: CondensedSet, config: RunConfig, students: int) -> float:
    """The part of a GPU that so many students that are trained together need by their memory: 1, or
    1/n in Ray's steps of 0.0001; 0 where CUDA is not available."""
    total = probe_gpu()
    if not total:
        return 1.0 if total is None else 0.0
    together = math.floor(GPU_PART * total / (CONTEXT + students * _largest_training(condensed, config)))
    return int(10_000 / max(1, min(together, 100))) / 10_000


def _largest_training(condensed: CondensedSet, config: RunConfig) -> int:
    """Bytes of the training that takes most, measured on the CPU."""
    info, settings = open_dataset(config.data).info, config.evaluation
    bounded = settings.whole_data_epochs is not None
    images = max(len(condensed.images) * condensed.formation**2, info.sizes["train"] if bounded else 0)
    networks = [*settings.students, *([] if settings.distillation is None else [settings.distillation.teacher])]
    batch = min(images, recipe(settings).batch)
    key, shape, classes = Key(0, "network"), info.shape, len(info.class_names)
    built = (build_section(network, shape, classes, key, condensed.normalisation) for network in networks)
    return max((training_bytes(network, batch) for network in built), default=0)
