"""What ``auto`` means: GPUs of every worker and threads of all, on clusters of every kind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import dump_config, parse_config
from hmdc_ray.exchange.resources import Node, acting, given, gpu_parts, resolve, this_machine, threads_for, with_threads


def run(*members: dict[str, Any], active: int | None = None, **sections: Any) -> RunConfig:
    pool = {"members": [{"architecture": "mlp", "name": f"m{place}", **member} for place, member in enumerate(members)]}
    return parse_config({"pool": {**pool, "active": active}, **sections}, "test")


def box(gpus: float, cpus: float = 16.0, **more: Any) -> Node:
    return Node(cpus, gpus, "H100" if gpus else "", **more)


def measured(config: RunConfig, *sizes: int) -> Sequence[float]:
    return sizes or [1] * len(config.pool.members)


@pytest.mark.parametrize(
    ("gpus", "members", "parts"),
    [
        (1, 1, {1.0: 1}),
        (2, 1, {1.0: 1}),
        (8, 1, {1.0: 1}),
        (1, 4, {0.25: 4}),
        (2, 4, {0.5: 4}),
        (4, 4, {1.0: 4}),
        (8, 4, {1.0: 4}),
        (1, 12, {0.0833: 12}),
        (2, 12, {0.1666: 12}),
        (4, 12, {0.3333: 12}),
        (8, 12, {1.0: 4, 0.5: 8}),
        (0, 4, {0.0: 4}),
    ],
)
def test_every_member_has_a_gpu_or_an_equal_part(gpus: int, members: int, parts: dict[float, int]) -> None:
    found = resolve(run(*[{}] * members), [box(gpus)], lambda: [1] * members).gpus
    assert {part: found.count(part) for part in set(found)} == parts
    assert sum(found) <= gpus
    shared = [part for part in found if 0 < part < 1]
    if shared:  # as many as share a GPU fit onto one, and all fit onto those that are left
        together = int(1 / shared[0] + 1e-6)
        assert together * (gpus - found.count(1.0)) >= len(shared)


@pytest.mark.parametrize(("gpus", "workers"), [(gpus, workers) for gpus in range(1, 9) for workers in range(1, 20)])
def test_no_gpu_is_left_unused_and_none_is_asked_for_twice(gpus: int, workers: int) -> None:
    parts = gpu_parts(gpus, workers, 1, lambda: [1.0] * workers)
    alone = parts.count(1.0)
    shared = [part for part in parts if part < 1]
    together = int(1 / shared[0] + 1e-6) if shared else 1
    needed = alone + -(-len(shared) // together)
    assert needed <= gpus and min(workers, gpus) - needed <= (1 if shared else 0)


def test_the_members_that_need_most_memory_have_a_gpu_of_their_own() -> None:
    config = run({}, {}, {}, {}, {})
    found = resolve(config, [box(3)], lambda: [1, 5, 2, 4, 3])
    assert found.gpus == (0.5, 1.0, 0.5, 0.5, 0.5)
    assert found.line == "5 members on 3 x H100, m1 one, the others half each; 3 threads each"


def test_memory_is_measured_only_where_it_decides() -> None:
    def never() -> Sequence[float]:
        raise AssertionError

    for gpus, members in ((0, 3), (1, 3), (3, 3), (8, 3), (2, 4)):
        resolve(run(*[{}] * members), [box(gpus)], never)


def test_replicas_are_workers_of_their_own() -> None:
    found = resolve(run({"replicas": 3}, {}), [box(2), box(2)], lambda: [1, 1])
    assert found.gpus == (1.0, 1.0, 1.0, 1.0)
    assert found.line == "2 members (4 workers) on 4 x H100, one each; 8 threads each"


def test_what_is_given_is_kept_and_taken_first() -> None:
    found = resolve(run({"num_gpus": 1}, {"num_gpus": 0.5}, {"num_gpus": 0}, {}, {}), [box(4)], lambda: [1] * 5)
    assert found.gpus == (1.0, 0.5, 0.0, 1.0, 1.0)
    none_left = resolve(run({"num_gpus": 2}, {}), [box(2)], lambda: [1, 1])
    assert none_left.gpus == (2.0, 0.0)
    assert none_left.line == "1 member on 2 x H100, 2 each; 1 member on 16 CPU cores (no GPU is left); 8 threads each"


def test_members_with_labels_or_resources_count_the_gpus_that_they_can_reach() -> None:
    near, far = box(4, labels={"zone": "a"}, resources={"fast": 1.0}), box(8, labels={"zone": "b"})
    labelled = run({"labels": {"zone": "a"}}, {"labels": {"zone": "a"}}, *[{"labels": {"zone": "a"}}] * 6)
    assert resolve(labelled, [near, far], lambda: [1] * 8).gpus == (0.5,) * 8
    resourced = run(*[{"resources": {"fast": 0.1}}] * 8)
    assert resolve(resourced, [near, far], lambda: [1] * 8).gpus == (0.5,) * 8
    chosen_by_ray = run(*[{"labels": {"zone": "in(a,b)"}}] * 8)
    assert resolve(chosen_by_ray, [near, far], lambda: [1] * 8).gpus == (1.0,) * 8


@pytest.mark.parametrize(
    ("members", "active", "threads"),
    [(1, None, 16), (2, None, 8), (3, None, 5), (12, None, 1), (20, None, 1), (4, 1, 16), (4, 2, 8)],
)
def test_cores_are_divided_by_those_that_compute_at_the_same_time(members: int, active: int | None, threads: int) -> None:
    found = resolve(run(*[{}] * members, active=active), [Node(16.0)], lambda: [1] * members)
    assert found.config.threads == threads
    assert found.config.cluster.threads == threads


def test_threads_of_mixed_nodes() -> None:
    assert threads_for([8.0, 2.0], 1) == 8
    assert threads_for([8.0, 2.0], 2) == 4
    assert threads_for([8.0, 8.0], 3) == 4
    assert threads_for([8.0, 2.0], 5) == 2
    assert threads_for([1000.0], 1) == 256
    assert threads_for([0.5], 3) == threads_for([], 1) == 1
    on_gpus = resolve(run({}, {}), [Node(64.0), box(2, cpus=8.0)], lambda: [1, 1])
    assert on_gpus.config.threads == 4  # those of the nodes with GPUs


def test_replicas_of_drawn_members_compute_at_the_same_time() -> None:
    assert acting(run({"replicas": 3}, {}, {"replicas": 2}, active=2)) == 5


def test_threads_that_are_given_stay() -> None:
    config = run({}, cluster={"threads": 3})
    assert resolve(config, [Node(16.0)], lambda: [1]).config == config
    assert with_threads(config, 7) is config and with_threads(run({}), 7).threads == 7


def test_the_line_says_why_there_is_no_gpu() -> None:
    assert resolve(run({}, {}), [Node(2.0)], lambda: [1, 1]).line == "2 members on 2 CPU cores (there is no GPU); 1 thread each"
    asked = run({"num_gpus": 0}, {"num_gpus": 0}, {"num_gpus": 0})
    assert resolve(asked, [Node(16.0), Node(1.0)], lambda: [1] * 3).line == "3 members on 17 CPU cores; 5 threads each"
    one = resolve(run({}), [Node(1.0)], lambda: [1]).line
    assert one == "1 member on 1 CPU core (there is no GPU); 1 thread each"


def test_parts_are_said_in_words() -> None:
    lines = [resolve(run(*[{}] * members), [box(1)], lambda: []).line.split(", ")[1].split(";")[0] for members in (2, 3, 4, 12)]
    assert lines == ["half each", "a third each", "a quarter each", "1/12 each"]
    by_hand = resolve(run({"num_gpus": 0.4}, {"num_gpus": 0.4}), [box(1)], lambda: []).line
    assert by_hand == "2 members on 1 x H100, 0.4 of one each; 8 threads each"


def test_trials_have_equal_parts_and_numbers_everywhere() -> None:
    config = run({}, {"replicas": 2}, evaluation={"students": ["mlp"]})
    found = resolve(config, [box(8)], lambda: [1, 1], trials=2)
    assert (found.gpus, found.driver_gpus, found.config.threads) == ((1.0, 1.0, 1.0), 1.0, 2)
    crowded = resolve(config, [box(1)], lambda: [1, 1], trials=2)
    assert (crowded.gpus, crowded.driver_gpus) == ((0.125,) * 3, 0.125)
    fixed = found.fixed()
    assert "auto" not in [member.num_gpus for member in fixed.pool.members]
    assert fixed.evaluation.num_gpus == 1.0 and given(fixed).gpus == found.gpus
    judged_on_cpus = run({}, {}, evaluation={"num_gpus": 0})
    assert resolve(judged_on_cpus, [box(2)], lambda: [1, 1], trials=1).driver_gpus == 0.0


def test_a_configuration_keeps_auto_but_for_the_threads() -> None:
    text = dump_config(resolve(run({}), [box(2)], lambda: [1]).config)
    assert "num_gpus: auto" in text and "num_cpus: auto" in text and "threads: 16" in text


def test_null_of_earlier_configurations_is_auto() -> None:
    config = run({"num_cpus": None}, cluster={"threads": None})
    assert config.pool.members[0].num_cpus == "auto" and config.cluster.threads == "auto"


def test_what_is_not_resolved_is_not_guessed() -> None:
    with pytest.raises(AssertionError, match="not resolved"):
        _ = run({}).threads


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    alone = this_machine()
    assert (alone.cpus, alone.gpus) == (float(os.cpu_count() or 1), 0.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA H200")
    assert (this_machine().gpus, this_machine().gpu) == (2.0, "NVIDIA H200")
