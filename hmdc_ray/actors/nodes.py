"""The nodes of the cluster that this process is connected to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import ray

from hmdc_ray.actors.local import measured_bytes
from hmdc_ray.actors.session import remote
from hmdc_ray.config import EvaluationConfig, RunConfig
from hmdc_ray.config.base import AUTO
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.resources import Node, Resources, resolve

UNSEEN = "the cluster counts GPUs, but CUDA is not available to a process there"

PROBE_SECONDS = 60.0
"""How long to wait for a free GPU, to be asked for its memory."""

_PROBED = 0.01  # of a GPU

_MODEL = "accelerator_type:"
"""Beginning of the resource by which Ray counts a node's GPUs of one model."""


def cluster_nodes() -> list[Node]:
    """What every living node has, free or not."""
    return [
        Node(
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            gpu=next((name.removeprefix(_MODEL) for name in node["Resources"] if name.startswith(_MODEL)), ""),
            resources=dict(node["Resources"]),
            labels=dict(node.get("Labels") or {}),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def find_resources(config: RunConfig) -> Resources:
    """What a run alone has on the cluster that this process is connected to."""
    return resources_by_trials(config)(0)


def resources_by_trials(config: RunConfig) -> Callable[[int], Resources]:
    """A function from the number of trials at a time, 0 for a run alone, to what a run has; see
    :func:`hmdc_ray.exchange.resources.resolve`.

    The cluster is looked at once. Where GPUs are counted and would be used, a task is asked whether
    it sees one.
    """
    nodes, sizes, seen = cluster_nodes(), cache(lambda: measured_bytes(config)), cache(lambda: probe_gpu() != 0)
    counted = any(node.gpus for node in nodes)
    auto = any(member.num_gpus == AUTO for member in config.pool.members)

    def of(trials: int) -> Resources:
        wanted = auto or (trials > 0 and config.evaluation.num_gpus == AUTO)  # a trial's driver judges
        if counted and wanted and not seen():
            return resolve(config, [replace(node, gpus=0.0) for node in nodes], sizes, trials, UNSEEN)
        return resolve(config, nodes, sizes, trials)

    return of


def require_gpus(config: EvaluationConfig) -> None:
    """Refuse an evaluation whose students would wait for GPUs forever, before a run begins.

    Raises:
        InputError: no node has as many GPUs as a student asks for.
    """
    asked = config.num_gpus
    if asked not in (AUTO, 0) and asked > largest_node("GPU"):
        raise InputError(
            f"evaluation.num_gpus is {asked:g}, but no node has more than {largest_node('GPU'):g}: "
            "use 0 to train students on CPUs"
        )


def probe_gpu() -> int | None:
    """Bytes of memory of a GPU of the cluster, asked for by a task there: 0 where CUDA is not
    available to it, None where others use all GPUs and none was free in time."""
    reference = remote(_gpu_bytes).options(num_gpus=_PROBED, num_cpus=0).remote()
    ready, _ = ray.wait([reference], timeout=PROBE_SECONDS)
    if not ready:
        ray.cancel(reference, force=True)
        return None
    found: int = ray.get(reference)
    return found


def _gpu_bytes() -> int:
    import torch

    return int(torch.cuda.mem_get_info()[1]) if torch.cuda.is_available() else 0


def largest_node(resource: str) -> float:
    """The largest amount of a resource, such as ``CPU`` or ``GPU``, that one node of the cluster
    has."""
    return max((node.resources.get(resource, 0.0) for node in cluster_nodes()), default=0.0)
