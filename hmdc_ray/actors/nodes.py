"""The nodes of the cluster that this process is connected to."""

from __future__ import annotations

from dataclasses import replace

import ray

from hmdc_ray.actors.local import measured_bytes
from hmdc_ray.actors.session import remote
from hmdc_ray.config import RunConfig
from hmdc_ray.config.base import AUTO
from hmdc_ray.exchange.resources import NO_GPU, Node, Resources, resolve

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


def find_resources(config: RunConfig, trials: int = 0) -> Resources:
    """What a run has on the cluster that this process is connected to; see
    :func:`hmdc_ray.exchange.resources.resolve`.

    Where GPUs are counted and would be used, a task is asked whether it sees one.
    """
    nodes, no_gpu = cluster_nodes(), NO_GPU
    auto = any(member.num_gpus == AUTO for member in config.pool.members)
    if auto and any(node.gpus for node in nodes) and probe_gpu() == 0:
        nodes, no_gpu = [replace(node, gpus=0.0) for node in nodes], UNSEEN
    return resolve(config, nodes, lambda: measured_bytes(config), trials, no_gpu)


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
