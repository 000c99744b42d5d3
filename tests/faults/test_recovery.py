"""Lost processes and nodes: the images at the end are those of a run that nothing disturbed, bit
for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from whole_runs import tiniest

from faults.chaos import disturbed, undisturbed
from hmdc_ray.config import RunConfig

PATIENT = {"cut_every": 2, "recovery_attempts": 10, "start_timeout": 400}


def small(folder: Path, replicas: int, **cluster: Any) -> RunConfig:
    convnet = {"architecture": "convnet", "options": {"width": 8, "depth": 2}, "replicas": replicas}
    return tiniest(
        folder,
        pool={"members": [convnet, {"architecture": "lenet"}]},
        matching={"agreement": "standardised"},
        schedule={"iterations": 2, "steps": 4, "checkpoint_every": 3, "training": "synthetic"},
        cluster={**PATIENT, **cluster},
    )


def test_killed_workers_and_servers_change_no_pixel(ray_local: None, tmp_path: Path) -> None:
    """With two replicas of a member and two shards of the server; the undisturbed run has one, as
    has the test below.

    Networks train on the images and agree where features are standardised; below, on real ones and
    by plain differences.
    """
    config = small(tmp_path, replicas=2, server_shards=2)
    report = disturbed(config, tmp_path / "chaos", ["worker", "server", "worker", "server"], seed=2)
    assert report.kills == {"worker": 2, "server": 2}
    assert report.events["recovered"] >= 1
    assert sorted(set(report.versions)) == list(range(8))
    np.testing.assert_array_equal(report.images, undisturbed(config, tmp_path / "peace"))


def test_killed_nodes_change_no_pixel() -> None:
    """In a process and a cluster of its own: all nodes of a cluster on one machine share the
    driver's Ray."""
    environment = {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [sys.executable, "-m", "faults.chaos", "--kills", "2", "--kinds", "node"],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pixels equal to the undisturbed run's: True" in done.stdout
    assert "kills: {'node': 2}" in done.stdout
