"""The nodes of a cluster, and of this machine without one."""

from __future__ import annotations

import os

import pytest
import ray
import torch

from hmdc_ray.actors.nodes import cluster_nodes, find_resources, largest_node, this_machine
from hmdc_ray.config.io import parse_config


def test_the_nodes_of_a_cluster(ray_local: None) -> None:
    (node,) = cluster_nodes()
    assert (node.cpus, node.gpus) == (2.0, 3.0) == (largest_node("CPU"), largest_node("GPU"))
    assert node.labels["ray.io/node-id"]
    config = parse_config({"pool": {"members": ["mlp", "lenet"]}}, "test")
    found = find_resources(config)
    assert (found.gpus, found.config.threads) == ((1.0, 1.0), 1)


def test_models_of_gpus_and_dead_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0, "accelerator_type:H100": 1.0}, "Labels": {"zone": "a"}},
        {"Alive": True, "Resources": {"memory": 1.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    first, second = cluster_nodes()
    assert (first.cpus, first.gpus, first.gpu, first.labels) == (8.0, 2.0, "H100", {"zone": "a"})
    assert (second.cpus, second.gpus, second.gpu) == (0.0, 0.0, "")
    assert largest_node("GPU") == 2.0


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    alone = this_machine()
    assert (alone.cpus, alone.gpus) == (float(os.cpu_count() or 1), 0.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA H200")
    assert (this_machine().gpus, this_machine().gpu) == (2.0, "NVIDIA H200")
