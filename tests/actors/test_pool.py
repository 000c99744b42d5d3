"""What becomes of actors that are replaced."""

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

    with launch(config, open_dataset(config.data).info, tmp_path, lambda: None) as pool:
        ray.kill(pool.workers[1].workers[0].actor)
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
