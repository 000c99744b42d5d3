"""What becomes of actors that are replaced, and of replicas that fail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from whole_runs import tiniest

from hmdc_ray.actors.launch import launch
from hmdc_ray.actors.pool import RayPool
from hmdc_ray.actors.session import fetch
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.errors import LostProcessError
from hmdc_ray.exchange.resources import given
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.run.coordinator import Coordinator


def test_a_replaced_worker_that_was_not_built_is_replaced_again(
    ray_local: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers, for its process is there: the call that builds it was lost on its way."""
    config = tiniest(tmp_path, cluster={"recovery_timeout": 300})
    missing, faults = RayPool._missing, iter([LostProcessError("the connection was lost")])

    def ready_and_lost(pool: RayPool, *arguments: Any) -> Any:
        found = missing(pool, *arguments)
        patch.setattr("hmdc_ray.actors.pool.fetch", fetch_but_once)
        return found

    def fetch_but_once(references: Sequence[Any]) -> list[Any]:
        for fault in faults:
            raise fault
        return fetch(references)

    with launch(given(config), open_dataset(config.data).info, tmp_path, lambda: None) as pool:
        ray.kill(pool.workers[1].processes[0])
        with pytest.raises(LostProcessError):  # a process that is being killed may answer a few times more
            while True:
                pool.get([pool.workers[1].begin(0)])
        with monkeypatch.context() as patch:
            patch.setattr(RayPool, "_missing", ready_and_lost)
            with pytest.raises(LostProcessError, match="the connection was lost"):
                pool.heal()
        assert pool.heal().restarted == ("lenet",)
        assert pool.get([pool.workers[1].begin(0)])[0].name == "lenet"
        assert pool.heal().restarted == ()


def test_what_fails_in_a_later_replica_alone_ends_the_run(ray_local: None, tmp_path: Path) -> None:
    """Else it would match its classes with a network that has missed an update."""
    convnet = {"architecture": "convnet", "options": {"width": 4, "depth": 1}, "replicas": 2}
    config = tiniest(tmp_path, pool={"members": [convnet, {"architecture": "lenet"}]})
    info = open_dataset(config.data).info
    with launch(given(config), info, tmp_path, lambda: None) as pool:
        coordinator = Coordinator(config, pool, classes=len(info.class_names), train_images=info.sizes["train"])
        done: list[int] = []

        def break_the_second(record: StepRecord) -> None:
            done.append(record.plan.version)
            actor = pool.workers[0].processes[1]
            pool.get([actor.__ray_call__.remote(lambda worker: setattr(worker.trainer, "step", lambda *_: 1 / 0))])

        with pytest.raises(ZeroDivisionError):
            coordinator.run(0, break_the_second)
    assert done == [0]
