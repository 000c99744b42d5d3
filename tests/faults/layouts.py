"""The same run with 1, 2 and 4 replicas of a member on 1, 2 and 3 nodes: the pixels are the same.

``python -m faults.layouts``; the nodes are those of a test cluster on loopback.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hmdc_ray.actors.launch import launch
from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.exchange.resources import given
from hmdc_ray.run.coordinator import Coordinator

REPLICAS = (1, 2, 4)
NODES = (1, 2, 3)


def images_and_nodes(config: RunConfig, folder: Path) -> tuple[np.ndarray, int]:
    """The images after the last step, and on how many nodes there were workers."""
    info = open_dataset(config.data).info
    with launch(given(config), info, folder, check=lambda: None) as pool:
        coordinator = Coordinator(config, pool, classes=len(info.class_names), train_images=info.sizes["train"])
        images: np.ndarray = coordinator.run(0, lambda record: None).images_KICHW
        return images, len({description.node for description in pool.descriptions})


def layout(folder: Path, replicas: int) -> RunConfig:
    """A run whose first member has so many replicas; a class a call, so that each has some."""
    from whole_runs import tiniest

    convnet = {"architecture": "convnet", "options": {"width": 8, "depth": 2}, "replicas": replicas}
    return tiniest(
        folder,
        pool={"members": [convnet, {"architecture": "lenet"}]},
        matching={"classes_per_call": 1},
        cluster={"placement": "spread", "start_timeout": 300},
    )


def main() -> None:
    """Run all layouts and compare their pixels with those of one process."""
    # Before Ray is imported: all nodes on loopback.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    from faults.chaos import Nodes, undisturbed

    folder = Path(tempfile.mkdtemp(prefix="hmdc-"))
    expected = undisturbed(layout(folder, 1), folder / "peace")
    differing = 0
    cluster = Nodes(folder, others=0)
    try:
        for nodes in NODES:
            if nodes > 1:
                cluster.add_one()
            for replicas in REPLICAS:
                start = time.monotonic()
                images, used = images_and_nodes(layout(folder, replicas), folder / f"{nodes}-{replicas}")
                same = np.array_equal(images, expected)
                differing += not same or used != min(nodes, replicas + 1)
                seconds = time.monotonic() - start
                print(f"{nodes} nodes (workers on {used}), {replicas} replicas: equal pixels {same}, {seconds:.0f} s")  # noqa: T201
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
