"""The nodes of a cluster, as a run sees them."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from hmdc_ray.actors import nodes
from hmdc_ray.actors.nodes import cluster_nodes, find_resources, largest_node, require_gpus
from hmdc_ray.config import EvaluationConfig
from hmdc_ray.config.io import parse_config
from hmdc_ray.errors import InputError


def test_the_nodes_of_a_cluster(ray_local: None) -> None:
    (node,) = cluster_nodes()
    assert (node.cpus, node.gpus) == (2.0, 3.0) == (largest_node("CPU"), largest_node("GPU"))
    assert node.labels["ray.io/node-id"]
    config = parse_config({"pool": {"members": ["mlp", "lenet"]}}, "test")
    found = find_resources(config)
    unseen = "the cluster counts GPUs, but CUDA is not available to a process there"
    assert (found.gpus, found.config.threads) == ((0.0, 0.0), 1)
    assert found.line == f"2 members on 2 CPU cores ({unseen}); 1 thread each"


def test_gpus_are_looked_at_only_where_they_would_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 2.0}}])

    def probe() -> int:
        asked.append(1)
        return 80 * 10**9

    monkeypatch.setattr(nodes, "probe_gpu", probe)
    by_hand = {"pool": {"members": [{"architecture": "mlp", "num_gpus": 0}]}}
    assert find_resources(parse_config(by_hand, "test")).gpus == (0.0,) and not asked
    assert find_resources(parse_config({"pool": {"members": ["mlp"]}}, "test")).gpus == (1.0,) and asked
    monkeypatch.setattr(nodes, "probe_gpu", lambda: None)  # all in use: nobody knows
    assert find_resources(parse_config({"pool": {"members": ["mlp"]}}, "test")).gpus == (1.0,)


def test_models_of_gpus_and_dead_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0, "accelerator_type:H100": 1.0}, "Labels": {"zone": "a"}},
        {"Alive": True, "Resources": {"memory": 1.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    monkeypatch.setattr(ray, "nodes", lambda: listed)
    first, second = cluster_nodes()
    assert (first.cpus, first.gpus, first.gpu, first.labels) == (8.0, 2.0, "H100", {"zone": "a"})
    assert (second.cpus, second.gpus, second.gpu) == (0.0, 0.0, "")
    assert largest_node("GPU") == 2.0


def test_the_cluster_is_looked_at_once_for_all_numbers_of_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three members on two GPUs, so that memory decides who has one alone."""
    asked: list[str] = []

    def told(what: str, value: Any) -> Any:
        asked.append(what)
        return value

    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}])
    monkeypatch.setattr(nodes, "probe_gpu", lambda: told("probe", 80 * 10**9))
    monkeypatch.setattr(nodes, "measured_bytes", lambda config: told("memory", [1, 3, 2]))
    members = [{"architecture": "mlp", "name": name} for name in "abc"]
    resources = nodes.resources_by_trials(parse_config({"pool": {"members": members}}, "test"))
    assert resources(0).gpus == resources(0).gpus == (0.5, 1.0, 0.5)
    assert resources(2).gpus == (0.25, 0.25, 0.25)
    assert asked == ["probe", "memory"]


def test_gpus_of_students_that_no_node_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}])
    for fits in (0, 2, "auto"):
        require_gpus(EvaluationConfig.model_validate({"num_gpus": fits}))
    with pytest.raises(InputError, match=r"evaluation.num_gpus is 3, but no node has more than 2: use 0 to train"):
        require_gpus(EvaluationConfig(num_gpus=3))
