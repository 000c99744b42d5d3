"""Networks trained one after the other, from a checkpoint or from the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import parse_config
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.models import build
from hmdc_ray.pretrain.batches import Group
from hmdc_ray.pretrain.plan import Plan
from hmdc_ray.pretrain.train_networks import Course, Position
from hmdc_ray.seeding import Key

from .conftest import planned

CPU = torch.device("cpu")
KEY = Key(3, "network", member=7)


class Kept:
    """Keeps the last checkpoint in a folder; asks to stop after so many epochs."""

    def __init__(self, folder: Path, stop_after: int | None = None) -> None:
        self.folder = folder
        self.checkpoints = 0
        self.epochs: list[tuple[str, int, int]] = []
        self._stop_after = stop_after

    @property
    def last(self) -> Path:
        return self.folder / str(self.checkpoints)

    def checkpoint(self, write: Callable[[Path], None]) -> None:
        self.checkpoints += 1
        self.last.mkdir(parents=True)
        write(self.last)

    def epoch_done(self, name: str, epoch: int, epochs: int) -> bool:
        self.epochs.append((name, epoch, epochs))
        return len(self.epochs) == self._stop_after


def course(plan: Plan, outside: Kept, folder: Path, checkpoint: Path | None = None) -> Position:
    folder.mkdir()
    Course(plan, Group(), CPU, outside, folder).run(checkpoint)
    return Position.read(outside.last)


def test_a_course_that_was_stopped_goes_on_to_the_same_bits(config: RunConfig, tmp_path: Path) -> None:
    data = {"evaluation": {"protocol": "idc", "whole_data_epochs": 3, "students": ["mlp"]}}
    plan = planned(parse_config({**config.model_dump(), **data}, "test"), "thin,mlp")
    plan = replace(plan, recipes=tuple(replace(recipe, batch=20) for recipe in plan.recipes))
    straight = Kept(tmp_path / "straight")
    expected = course(plan, straight, tmp_path / "a")

    stopped = Kept(tmp_path / "stopped", stop_after=4)  # in the first epoch of the second network
    halfway = course(plan, stopped, tmp_path / "b")
    assert [*halfway.accuracies] == ["thin"] and len(stopped.epochs) == 4
    resumed = Kept(tmp_path / "resumed")
    assert course(plan, resumed, tmp_path / "c", stopped.last) == expected
    assert resumed.epochs == [("mlp", 2, 3), ("mlp", 3, 3)]
    for name in ("thin.safetensors", "mlp.safetensors"):
        found, wanted = (load_file(outside.last / name) for outside in (resumed, straight))
        assert all(torch.equal(found[key], wanted[key]) for key in found.keys() | wanted.keys())
    assert straight.checkpoints == 6 and [*expected.losses] == ["thin", "mlp"]


def test_checkpoints_keep_their_distance(config: RunConfig, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept")
    course(planned(config, "mlp,convnet", seconds=1e9), kept, tmp_path / "scratch")
    assert kept.checkpoints == 2  # one for each finished network


def test_members_load_the_weights(config: RunConfig, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept")
    position = course(planned(config, "thin"), kept, tmp_path / "scratch")
    file, info = kept.last / "thin.safetensors", open_dataset(config.data).info
    member = build("convnet", {"width": 8, "depth": 1}, info.shape, 3, KEY, f"checkpoint:{file}")
    assert all(torch.equal(tensor, load_file(file)[name]) for name, tensor in member.module.state_dict().items())
    assert position.losses["thin"][-1] < position.losses["thin"][0]
    assert position.accuracies["thin"] > 1 / 3
