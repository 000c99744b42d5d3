"""The memory of a run that is held at its rungs, beside others of the same search."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from whole_runs import tiniest

from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.exchange.call_size import Footprint, WorkerMemory
from hmdc_ray.run.folder import RunFolder
from hmdc_ray.search.rung_run import _RungRun

GB = 10**9
ROOM = WorkerMemory("mlp", "a", 0.0, own=0, free=12 * GB, footprint=Footprint(kept=GB, matching=GB, other=0, message=0))


@pytest.mark.parametrize(("runs", "classes", "told"), [(1, 3, False), (3, 1, False), (4, 1, True)])
def test_it_takes_its_part_of_the_memory_and_a_shortage_is_told(
    runs: int, classes: int, told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of 12 GB for a worker and the server, where each class takes 1 GB."""
    config = tiniest(tmp_path)
    pool: Any = SimpleNamespace(measure=lambda: [ROOM])
    group: Any = None
    info = open_dataset(config.data).info
    folder = RunFolder.claim(tmp_path / "run", resume=False)
    run = _RungRun(config, info, folder, None, (), lambda *_: {}, lambda: None, group, None, runs)
    with caplog.at_level(logging.WARNING):
        assert run._sized(pool).matching.classes_per_call == classes
    folder.release()
    assert ["worker mlp takes 1 GB with one class in a call" in line for line in caplog.messages] == [True] * told
