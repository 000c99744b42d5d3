"""The nodes of the cluster that this process is connected to, and this machine without one."""

from __future__ import annotations

import os

import ray

from hmdc_ray.actors.local import measured_bytes
from hmdc_ray.actors.session import remote
from hmdc_ray.config import RunConfig
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


def this_machine() -> Node:
    """What a Ray that is started on this machine would have."""
    import torch  # not at the top: it takes seconds, and clusters are asked without it

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    model = torch.cuda.get_device_name(0) if gpus else ""
    return Node(float(os.cpu_count() or 1), float(gpus), model)


def find_resources(config: RunConfig, trials: int = 0) -> Resources:
    """What a run has on the cluster that this process is connected to; see
    :func:`hmdc_ray.exchange.resources.resolve`."""
    return resolve(config, cluster_nodes(), lambda: measured_bytes(config), trials)


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
