"""A pool in this process: references are the values, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

from whole_runs import tiniest

from hmdc_ray.actors.local import LocalPool
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.exchange.recovery import Healed


def test_calls_are_made_at_once(tmp_path: Path) -> None:
    config = tiniest(tmp_path)
    pool = LocalPool(config, open_dataset(config.data).info, tmp_path)
    begun, snapshot = pool.get([pool.workers[1].begin(0), pool.server.snapshot()])
    assert begun.name == "lenet" and snapshot.images_KICHW.shape == (3, 1, 1, 16, 16)
    assert [memory.name for memory in pool.measure()] == ["convnet", "lenet"]
    pool.keep([begun])
    assert pool.heal() == Healed((), {})
