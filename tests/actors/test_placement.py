"""Where actors go: options by hand, and the cluster's own answer to labels."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import ray

from hmdc_ray.actors.nodes import cluster_nodes
from hmdc_ray.actors.placement import LEAST_SHARE, Placed, bundle_options
from hmdc_ray.actors.session import remote
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import parse_config
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.resources import Resources, given, resolve
from hmdc_ray.search.resources import Concurrency, wait_for_room

ID = "ray.io/node-id"


def configuration(*members: dict[str, Any], **cluster: Any) -> RunConfig:
    pool = {"members": [{"architecture": "mlp", "name": f"m{place}", **member} for place, member in enumerate(members)]}
    return parse_config({"pool": pool, "cluster": cluster}, "test")


def placed_as(*members: dict[str, Any], **cluster: Any) -> Resources:
    return given(configuration(*members, **cluster))


def test_workers_ask_for_what_their_member_does(ray_local: None) -> None:
    gpu = {"num_gpus": 0.5, "num_cpus": 0.25, "resources": {"fast": 1.0}, "labels": {"zone": "a"}}
    placed = Placed(placed_as({"replicas": 2}, gpu, server_cpus=0.2))
    expected = {"num_cpus": 0.25, "num_gpus": 0.5, "resources": {"fast": 1.0}, "label_selector": {"zone": "a"}}
    assert placed.worker(2, again=False) == expected
    first, second = (placed.worker(slot, again=False) for slot in (0, 1))
    assert first == second == {"num_cpus": first["num_cpus"], "num_gpus": 0, "resources": None}
    assert placed.server() == {"num_cpus": 0.2}


@pytest.mark.parametrize(("members", "shared"), [(3, [1, 1, 1]), (5, [1, 2, 2]), (12, [4, 4, 4])])
def test_ray_places_the_parts_of_auto_as_they_are_meant(ray_local: None, members: int, shared: list[int]) -> None:
    """On the session's three GPUs; replaced workers too, in any order."""
    config = configuration(*[{"num_cpus": 0.01}] * members)
    resources = resolve(config, cluster_nodes(), lambda: list(range(members)))
    placed = Placed(resources)

    class Holder:
        def gpus(self) -> list[str]:
            return list(ray.get_runtime_context().get_accelerator_ids()["GPU"])

    def start(slot: int) -> Any:
        return remote(Holder).options(**placed.worker(slot, again=True)).remote()

    actors = [start(slot) for slot in range(members)]
    try:
        for slot in (0, members - 1):
            ray.get([actor.gpus.remote() for actor in actors], timeout=60)
            ray.kill(actors[slot])
            actors[slot] = start(slot)
        found = ray.get([actor.gpus.remote() for actor in actors], timeout=60)
    finally:
        for actor in actors:
            ray.kill(actor)
    assert sorted(Counter(gpu for gpus in found for gpu in gpus).values()) == shared


def test_a_worker_in_place_of_a_lost_one_finds_room_beside_any_others(ray_local: None) -> None:
    placed = Placed(placed_as({}, {"num_cpus": 0.5}))
    assert placed.worker(0, again=True)["num_cpus"] == LEAST_SHARE < placed.worker(0, again=False)["num_cpus"]
    assert placed.worker(1, again=True)["num_cpus"] == 0.5


def test_spread_is_passed_on(ray_local: None) -> None:
    assert Placed(placed_as({}, placement="spread")).worker(0, again=False)["scheduling_strategy"] == "SPREAD"


def test_the_bundles_of_a_trial_hold_to_the_labels_of_its_members(ray_local: None) -> None:
    (node,) = [node["Labels"][ID] for node in ray.nodes() if node["Alive"]]
    assert bundle_options(configuration({}, {})) == {}
    here = configuration({}, {"labels": {ID: node}, "replicas": 2}, start_timeout=60)
    assert bundle_options(here) == {"bundle_label_selector": [{}, {}, {ID: node}, {ID: node}]}
    wait_for_room(Concurrency(1, 0.1, given(here)), lambda: None)
    elsewhere = configuration({}, {"labels": {ID: "nowhere"}}, start_timeout=1)
    with pytest.raises(InputError, match=rf"{ID}.*nowhere.*did not become free within cluster.start_timeout 1 s"):
        wait_for_room(Concurrency(1, 0.1, given(elsewhere)), lambda: None)
