"""Predictions against counts by hand, and the command on a tiny pool."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.profiling.capacity import Cluster, MemberProfile, Profile, largest_memory, predict

SLOW = MemberProfile("slow", num_gpus=1, matching=8.0, training=2.0, peak_bytes=400, shared_bytes=20.0, each_bytes=10.0)
FAST = MemberProfile("fast", num_gpus=0.5, matching=1.0, training=0.5, peak_bytes=100, shared_bytes=10.0, each_bytes=0.0)
PROFILE = Profile(
    (SLOW, FAST),
    server_seconds=0.5,
    server_received_bytes=100.0,
    server_peak_bytes=50,
    bytes_per_second=1000.0,
    calls_seconds=0.25,
    classes=10,
    threads=1,
)
CLUSTER = Cluster(gpus_per_node=2, cores_per_node=4, network_bytes_per_second=10.0)


def test_the_measured_pool_is_predicted_as_it_was() -> None:
    found = predict(PROFILE, 2, 1, CLUSTER)
    assert found.counts == {"slow": 1, "fast": 1}
    assert (found.workers, found.nodes) == (2, 1)
    assert found.bytes_per_step == 140.0
    assert found.parts == {"members": 10.0, "server": 0.5, "moving": 0.14, "calls": 0.25}
    assert (found.seconds_per_step, found.bottleneck) == (10.89, "slow")
    assert largest_memory(found) == 2 * 400 + 50


def test_replicas_divide_the_matching_and_not_the_training() -> None:
    found = predict(PROFILE, 2, 4, Cluster(8, 4, 10.0))
    assert found.parts["members"] == 3 / 10 * 8.0 + 2.0  # of ten classes one replica has three
    assert (found.workers, found.nodes) == (8, 1)
    assert found.parts["calls"] == 4 * 0.25
    assert found.bytes_per_step == 100 + (20 + 4 * 10) + 10
    with pytest.raises(InputError, match="--replicas is 11, but the data has 10 classes"):
        predict(PROFILE, 2, 11, Cluster(16, 4, 10.0))


def test_members_repeat_in_turn_and_server_and_bytes_grow_with_them() -> None:
    found = predict(PROFILE, 5, 1, CLUSTER)
    assert found.counts == {"slow": 3, "fast": 2}
    assert found.nodes == 2  # 3 + 2 x 0.5 GPUs, two a node
    assert found.bytes_per_step == 2.5 * 100 + 3 * 30 + 2 * 10
    assert found.parts == {"members": 10.0, "server": 1.25, "moving": 36.0, "calls": 0.625}
    assert found.bottleneck == "moving"


def test_processes_of_the_server_divide_its_work_and_each_takes_memory() -> None:
    alone, two, many = (predict(PROFILE, 64, 1, CLUSTER, shards) for shards in (1, 2, 100))
    assert alone.parts["server"] == 16.0
    assert (two.parts["server"], two.server_peak_bytes) == (8.0, 100)
    assert (many.parts["server"], many.server_peak_bytes) == (1.6, 500)  # one for each of ten classes


def test_members_on_cpus_wait_for_cores() -> None:
    on_cpus = replace(PROFILE, members=(replace(SLOW, num_gpus=0), replace(FAST, num_gpus=0)))
    alone, many = predict(on_cpus, 2, 1, CLUSTER), predict(on_cpus, 8, 1, CLUSTER)
    assert (alone.parts["members"], alone.bottleneck) == (10.0, "slow")
    assert (many.parts["members"], many.bottleneck, many.nodes) == ((4 * 10.0 + 4 * 1.5) / 4, "cores", 1)
    assert predict(replace(on_cpus, threads=2), 8, 1, CLUSTER).parts["members"] == 2 * many.parts["members"]
    shared = predict(on_cpus, 8, 2, CLUSTER)  # replicas take cores too, for the training that each does
    assert shared.parts["members"] == (4 * (8.0 + 2 * 2.0) + 4 * (1.0 + 2 * 0.5)) / 4


def test_a_member_that_fits_no_node_is_refused() -> None:
    with pytest.raises(InputError, match="--gpus-per-node is 0, but a member asks for num_gpus 1"):
        predict(PROFILE, 2, 1, Cluster(0, 4, 10.0))
