"""What does not fit the cluster is refused with what is missing; shares let as many trials in as
are asked for."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from hmdc_ray.actors import nodes
from hmdc_ray.actors.placement import bundles, cpu_share
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import parse_config
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.resources import given
from hmdc_ray.search.resources import fits, plan_concurrency, require_room


def configuration(*members: dict[str, Any], **sections: Any) -> RunConfig:
    pool = {"members": [{"architecture": "mlp", "name": f"m{place}", **member} for place, member in enumerate(members)]}
    return parse_config({"pool": pool, **sections}, "test")


@pytest.mark.parametrize("nodes", [[2.0], [1.0, 1.0], [4.0, 2.0], [64.0] * 3])
@pytest.mark.parametrize("trials", [1, 2, 3])
@pytest.mark.parametrize("members", [1, 4, 6])
def test_shares_let_all_trials_in(nodes: list[float], trials: int, members: int) -> None:
    config = configuration(*[{}] * members)
    needed = bundles(given(config), cpu_share(nodes, config, trials))
    assert len(needed) == members + 1
    assert fits(needed, trials, [{"CPU": cpus} for cpus in nodes])


def test_members_that_ask_for_cpus_leave_the_rest_to_the_others() -> None:
    config = configuration({"num_cpus": 1.0}, {})
    needed = bundles(given(config), cpu_share([4.0], config, 1))
    assert needed == [{"CPU": 1.1}, {"CPU": 1.0}, {"CPU": 1.0}]


def test_bundles_hold_what_members_and_students_ask_for() -> None:
    gpu = {"num_gpus": 0.5, "resources": {"fast": 1.0, "none": 0.0}}
    config = configuration(gpu, {"replicas": 2}, evaluation={"num_gpus": 0.25})
    assert bundles(given(config), 0.5) == [
        {"CPU": 0.6, "GPU": 0.25},
        {"CPU": 0.5, "GPU": 0.5, "fast": 1.0},
        {"CPU": 0.5},
        {"CPU": 0.5},
    ]


def test_the_drivers_bundle_holds_every_shard_of_the_server() -> None:
    config = configuration({}, {}, cluster={"server_shards": 3, "server_cpus": 0.2})
    assert bundles(given(config), 0.5) == [{"CPU": 1.1}, {"CPU": 0.5}, {"CPU": 0.5}]
    assert cpu_share([2.0], config) < cpu_share([2.0], configuration({}, {}, cluster={"server_cpus": 0.2}))


def test_a_run_alone_has_no_driver_to_place() -> None:
    assert cpu_share([2.0], configuration({}, {})) > cpu_share([2.0], configuration({}, {}), 1)


NODES = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0}]


@pytest.mark.parametrize(
    ("members", "trials", "message"),
    [
        ([{"num_gpus": 4}], 1, "pool member 'm0' needs 4 GPU, but no node of the cluster has more than 2"),
        ([{}, {"resources": {"tpu": 1.0}}], 1, "pool member 'm1' needs 1 tpu, but no node of the cluster has more than 0"),
        ([{"num_cpus": 9.0}], 1, "pool member 'm0' needs 9 CPU, but no node of the cluster has more than 8"),
        ([{"num_gpus": 1}] * 3, 1, "a trial needs 3 GPU, but the cluster has 2, 1 too few: use a larger cluster, or fewer"),
        (
            [{"num_gpus": 1}] * 2,
            2,
            "2 trials at a time need 4 GPU, but the cluster has 2, 2 too few: use a smaller --concurrent",
        ),
        ([{"num_cpus": 5.0}] * 3, 1, "a trial needs bundles that do not fit onto the cluster's nodes side by side ("),
    ],
)
def test_what_is_missing_is_said(members: list[dict[str, Any]], trials: int, message: str) -> None:
    config = configuration(*members)
    with pytest.raises(InputError) as told:
        require_room(config, bundles(given(config), 0.1), trials, NODES)
    assert str(told.value).startswith(message)


def test_what_fits_passes() -> None:
    config = configuration({"num_gpus": 1}, {"num_gpus": 1}, {"num_cpus": 7.0})
    require_room(config, bundles(given(config), 0.1), 1, NODES)


@pytest.mark.parametrize(
    ("cpus", "trials", "asked", "expected"),
    [(2.0, 8, None, 1), (8.0, 8, None, 2), (64.0, 8, None, 8), (2.0, 8, 3, 3), (2.0, 2, 5, 2)],
)
def test_how_many_trials_run_at_a_time(
    cpus: float, trials: int, asked: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four members, of which all are drawn, one thread each."""
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": cpus}}])
    planned = plan_concurrency(configuration(*[{}] * 4), trials, asked)
    assert planned.count == expected
    assert fits(bundles(planned.resources, planned.share), planned.count, [{"CPU": cpus}])


@pytest.mark.parametrize(
    ("gpus", "asked", "count", "parts"),
    [(8, None, 2, [1.0] * 4), (4, None, 1, [1.0] * 4), (2, None, 1, [0.5] * 4), (8, 4, 4, [0.5] * 4), (1, 2, 2, [0.125] * 4)],
)
def test_trials_share_the_gpus_equally(
    gpus: int, asked: int | None, count: int, parts: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three members, and the driver, which judges."""
    node = {"CPU": 64.0, "GPU": float(gpus)}
    monkeypatch.setattr(nodes, "probe_gpu", lambda: 80 * 10**9)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": node}])
    planned = plan_concurrency(configuration({}, {}, {}), 2 if asked is None else asked, asked)
    assert planned.count == count
    assert [*planned.resources.gpus, planned.resources.driver_gpus] == parts
    assert fits(bundles(planned.resources, planned.share), planned.count, [node])
    fixed = planned.resources.fixed()
    assert [member.num_gpus for member in fixed.pool.members] == parts[:3] and fixed.evaluation.num_gpus == parts[3]
    assert fixed.cluster.threads == planned.resources.config.cluster.threads
