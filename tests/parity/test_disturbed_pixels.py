"""Same pixels, bit for bit, where a member is renewed or leaves in mid-iteration, and all processes
are lost around it.

Members distil one another: those who are left train their aligners anew, and all come back from a
cut as they were.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmdc_ray.actors.local import LocalPool
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import LostProcessError
from hmdc_ray.exchange.messages import Snapshot
from hmdc_ray.exchange.recovery import Healed
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.exchange.step_records import BadGradient, Reference, StepRecord
from hmdc_ray.run.coordinator import Coordinator
from hmdc_ray.server.checkpoint import CheckpointFolder
from parity.runs import members

BAD = {"renewed": (1,), "leaves": (1, 2)}
"""Steps of bad gradients: after the first of them the member is renewed, after the second it
leaves."""


class MortalPool(LocalPool):
    """Is healed with processes that know nothing."""

    def __init__(self, config: RunConfig, dataset: ImageDataset, folder: Path) -> None:
        super().__init__(config, dataset.info, folder)
        self._arguments = (config, dataset.info, folder)

    def heal(self) -> Healed:
        fresh = LocalPool(*self._arguments)
        self.workers, self.server = fresh.workers, fresh.server
        return Healed(("server",), {})


def run(
    config: RunConfig,
    dataset: ImageDataset,
    folder: Path,
    bad: tuple[str, str],
    start: int = 0,
    lost: Collection[int] = (),
    checkpoints: Path | None = None,
) -> bytes:
    """The images after the last step.

    Args:
        config: the run.
        dataset: its data.
        folder: of its checkpoints.
        bad: a member, and what becomes of it (see :data:`BAD`).
        start: version to resume from.
        lost: steps after which all processes are lost, once each.
        checkpoints: each step's is saved there, in a folder named by its version.
    """
    name, fate = bad
    pool, to_lose = MortalPool(config, dataset, folder), list(lost)
    coordinator = Coordinator(config, pool, classes=3, train_images=dataset.info.sizes["train"])
    step = coordinator.step

    def with_bad_gradients(plan: StepPlan, snapshot: Reference) -> StepRecord:
        record = step(plan, snapshot)
        return replace(record, bad={name: BadGradient([0], None)}) if plan.version in BAD[fate] else record

    def after_step(record: StepRecord) -> None:
        version = record.snapshot.version
        if record.plan.version in to_lose:
            to_lose.remove(record.plan.version)
            raise LostProcessError("all are lost")
        if checkpoints is not None:
            pool.server.processes[0].checkpoints = CheckpointFolder(checkpoints / str(version) / "checkpoint")
            coordinator.checkpoint(version)

    coordinator.step = with_bad_gradients  # type: ignore[method-assign]
    found: Snapshot = coordinator.run(start, after_step)
    assert not to_lose and coordinator.health.absent == ({name} if fate == "leaves" else set())
    assert np.isfinite(found.images_KICHW).all()
    return found.images_KICHW.tobytes()


def configured(data: DataConfig, agreement: str, training: str, cut_every: int = 1, **matching: Any) -> RunConfig:
    """One iteration of three members; ``shallow`` has a single tap: without it two layers are
    compared."""
    distilling = {"mutual_distillation": True, "aligner_images": 16, "agreement": agreement}
    settings = {
        "seed": 3,
        "data": data,
        "pool": {"members": members("batchnorm", "shallow", "mlp"), "bad_steps": 1},
        "matching": {"real_batch": 5, "sampler": "kmeans", "sampler_period": 3, **distilling, **matching},
        "balance": {"mode": "ema", "period": 2},
        "images": {"normalise": "max", "clip": True, "learning_rate": 0.05},
        "schedule": {"iterations": 1, "steps": 6, "training": training, "real_images": 16, "batch": 8},
        "cluster": {"cut_every": cut_every},
    }
    return RunConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("bad", "agreement", "training"),
    [
        (("shallow", "renewed"), "standardised", "synthetic"),
        (("mlp", "leaves"), "mse", "real"),
        (("shallow", "leaves"), "standardised", "none"),
    ],
    ids=["renewed", "leaves aligners of the same size", "leaves aligners of another size"],
)
def test_what_befalls_a_member_and_faults_around_it_change_no_pixel(
    bad: tuple[str, str],
    agreement: str,
    training: str,
    three_digits: ImageDataset,
    three_digits_config: DataConfig,
    tmp_path: Path,
) -> None:
    def run_of(cut_every: int = 1, **matching: Any) -> RunConfig:
        return configured(three_digits_config, agreement, training, cut_every, **matching)

    whole = run(run_of(), three_digits, tmp_path / "0", bad, checkpoints=tmp_path)
    for cut_every, lost in (1, (1, 2, 3)), (3, (2, 4)):
        assert run(run_of(cut_every), three_digits, tmp_path / "lost", bad, lost=lost) == whole, (cut_every, lost)
    for version in (2, 3):
        assert run(run_of(), three_digits, tmp_path / str(version), bad, start=version) == whole, version
    assert run(run_of(3, classes_per_call=1), three_digits, tmp_path / "chunks", bad, lost=(1, 5)) == whole
