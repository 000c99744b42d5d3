"""The choice of the classes in a call, by hand from given measurements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hmdc_ray.config import RunConfig
from hmdc_ray.exchange.call_size import Footprint, WorkerMemory, call_size, with_call_size

GB = 10**9
VIT = Footprint(kept=2 * GB, matching=3 * GB, other=GB, message=0)
CONVNET = Footprint(kept=GB // 4, matching=GB // 2, other=GB, message=0)


def worker(name: str, footprint: Footprint, **fields: Any) -> WorkerMemory:
    defaults = WorkerMemory(name, node="a", gpu=0.0, own=GB // 2, free=0, footprint=footprint)
    return replace(defaults, **fields)


def run(memory_per_worker: float | None = None) -> RunConfig:
    return RunConfig.model_validate({"cluster": {"memory_per_worker": memory_per_worker}})


def test_the_peak_grows_with_what_each_further_class_keeps() -> None:
    assert [VIT.peak(classes) for classes in (1, 2, 3)] == [3 * GB, 5 * GB, 7 * GB]
    assert [CONVNET.peak(classes) for classes in (1, 3, 4)] == [GB, GB, 1.25 * GB]  # training takes more than a few classes
    assert [VIT.most_classes(count * GB) for count in (2.9, 3, 4.9, 5, 7)] == [0, 1, 1, 2, 3]
    assert [CONVNET.most_classes(count * GB) for count in (0.9, 1, 1.25)] == [0, 3, 4]
    for footprint in (VIT, CONVNET):
        for classes in range(1, 20):
            assert footprint.most_classes(footprint.peak(classes)) >= classes
            assert footprint.peak(footprint.most_classes(footprint.peak(classes))) <= footprint.peak(classes)


@pytest.mark.parametrize(
    ("limit", "classes", "named", "fits"),
    [(3.4, 1, "vit", False), (3.5, 1, "vit", True), (7.5, 3, "vit", True), (100, 10, "vit", True)],
)
def test_the_worker_that_admits_fewest_decides(limit: float, classes: int, named: str, fits: bool) -> None:
    size = call_size(run(limit), [worker("convnet", CONVNET), worker("vit", VIT)], 10)
    assert (size.classes, size.fits, size.worker.name) == (classes, fits, named)
    assert with_call_size(run(limit), size).matching.classes_per_call == classes


def test_it_is_said_in_one_line() -> None:
    pool = [worker("convnet", CONVNET), worker("vit", VIT)]
    enough, short = call_size(run(7.5), pool, 10), call_size(run(1), pool, 10)
    assert enough.describe() == "classes per call: 3 of 10, chosen so that each worker stays under 7.5 GB"
    assert enough.shortage() == ""
    assert short.describe() == "classes per call: 1 of 10"
    line = short.shortage()
    assert line == (
        "worker vit takes 3.5 GB with one class in a call, more than the limit of 1 GB that cluster.memory_per_worker sets: "
        "raise it, or choose a smaller matching.real_batch or schedule.batch"
    )  # there may be plenty
    for gpu, advice in ((0.0, "fewer workers on its node would help"), (0.5, "a larger num_gpus or GPU would help")):
        by_default = call_size(run(), [worker("vit", VIT, gpu=gpu, free=2 * GB)], 10).shortage()
        assert " of its share of the free memory: it may run out of memory; " in by_default and by_default.endswith(advice)


def test_by_default_workers_and_server_share_half_of_what_their_node_has_free() -> None:
    """Two workers on node a, which has 19 GB free beside 2 x 0.5 GB of theirs; three replicas on
    node b with 7 GB and less."""
    pool = [
        worker("convnet", CONVNET, free=19 * GB),
        worker("vit", VIT, free=20 * GB),
        *(worker("vit", VIT, node="b", free=free * GB) for free in (7, 9, 8)),
    ]
    size = call_size(run(), pool[:2], 10)
    assert size.limit == pytest.approx(0.5 * 20 * GB / 3) and size.classes == 1
    assert not call_size(run(), pool, 10).fits
    assert call_size(run(), pool, 10).limit == pytest.approx(0.5 * 8.5 * GB / 4)
    assert call_size(run(), pool, 10).shortage().count("its share of the free memory") == 1
    alone = call_size(run(), [worker("vit", VIT, free=43 * GB)], 10)
    assert alone.limit == pytest.approx(0.5 * 43.5 * GB / 2) and alone.classes == 4


def test_runs_at_a_time_share_what_is_free_on_their_nodes() -> None:
    """A pool's node with 43.5 GB for three trials; each asks for a part of a GPU of its own, and a
    given limit is one's own."""
    pool = [worker("vit", VIT, free=43 * GB)]
    sizes = [call_size(run(), pool, 10, runs) for runs in (1, 2, 3)]
    assert [size.limit for size in sizes] == pytest.approx([0.5 * 43.5 * GB / 2 / runs for runs in (1, 2, 3)])
    assert [(size.classes, size.fits) for size in sizes] == [(4, True), (1, True), (1, True)]
    assert not call_size(run(), pool, 10, 4).fits
    gpu = [worker("vit", VIT, gpu=0.25, own=GB, free=79 * GB)]
    assert call_size(run(), gpu, 10, 3) == call_size(run(), gpu, 10)
    assert call_size(run(7.5), pool, 10, 3) == call_size(run(7.5), pool, 10)


def test_on_a_gpu_it_is_the_part_that_the_member_asks_for() -> None:
    """A GPU with 79 GB free beside 1 GB of the worker's own: a quarter of it, and all of it; the
    node's memory has no say."""
    quarter = worker("vit", VIT, gpu=0.25, own=GB, free=79 * GB)
    size = call_size(run(), [quarter], 10)
    assert size.limit == pytest.approx(0.8 * 0.25 * 80 * GB) and size.classes == 7
    assert call_size(run(), [replace(quarter, gpu=1.0)], 10).classes == 10
    mixed = call_size(run(), [quarter, worker("convnet", CONVNET, free=2 * GB)], 10)
    assert mixed.limit == pytest.approx(0.5 * 2.5 * GB / 2) and mixed.worker.name == "convnet"
