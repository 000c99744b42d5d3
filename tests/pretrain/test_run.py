"""``hmdc pretrain`` with two workers of Ray Train: one worker's losses, and a worker's death that
leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hmdc_ray.cli.main import main
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import dump_config, parse_config
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.pretrain import pretrain
from hmdc_ray.pretrain.batches import Group
from hmdc_ray.pretrain.plan import make_plan
from hmdc_ray.pretrain.train_networks import Course, Position
from hmdc_ray.run.progress import Silent

MORTAL = '''
import os
import signal
from pathlib import Path

import torch
from torch import distributed, nn

HERE = Path(__file__).parent


class Mortal(nn.Sequential):
    """Once, if there is a file called kill, the second worker kills itself in the middle of an epoch."""

    steps = 0

    def forward(self, images):
        if self.training and distributed.is_initialized():
            self.steps += 1
            if distributed.get_rank() == 0:
                with (HERE / "steps").open("a") as file:
                    file.write("1")
            elif self.steps == 34 and (HERE / "kill").exists():
                (HERE / "kill").unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images)


def network(shape, classes):
    size = shape.channels * shape.height * shape.width
    return Mortal(nn.Flatten(), nn.Linear(size, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, classes))
'''
STEPS = 50


class Watched(Silent):
    """Takes note of the networks that it is told of."""

    def __init__(self) -> None:
        self.epochs: list[tuple[str, int, int]] = []

    def epoch(self, name: str, done: int, total: int) -> None:
        self.epochs.append((name, done, total))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pretrain")
    (path / "mortal_networks.py").write_text(MORTAL)
    return path


@pytest.fixture(scope="module")
def config(folder: Path) -> RunConfig:
    """The digits, five batches an epoch: ten epochs of a network of the user's and of a ConvNet."""
    config = parse_config(
        {
            "name": "two",
            "data": {"cache": str(folder / "cache")},
            "pool": {
                "members": [
                    {"name": "mine", "architecture": "mortal_networks:network"},
                    {"architecture": "convnet", "options": {"width": 8}},
                ]
            },
            "evaluation": {"students": [], "whole_data_epochs": 9},
        },
        "test",
    )
    (folder / "two.yaml").write_text(dump_config(config))
    return config


def losses(folder: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in (folder / "losses.jsonl").read_text().splitlines():
        entry = json.loads(line)
        found.setdefault(entry["network"], []).append(entry["loss"])
    return found


def one_worker(config: RunConfig, folder: Path) -> Position:
    """What a single worker finds, here and without Ray."""
    plan = make_plan(config, open_dataset(config.data).info, None, "validation", 1e9)

    class Kept:
        def checkpoint(self, write: object) -> None:
            assert callable(write)
            write(folder)

        def epoch_done(self, *position: object) -> bool:
            return False

    (folder / "scratch").mkdir(parents=True)
    Course(plan, Group(), torch.device("cpu"), Kept(), folder / "scratch").run(None)
    return Position.read(folder)


def test_two_workers_give_the_losses_of_one_and_survive_a_death(
    ray_local: None, folder: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.02")  # Ray takes a report of an epoch every two seconds
    monkeypatch.setattr("sys.argv", ["hmdc", "pretrain", "two.yaml", "--workers", "2", "--output", "undisturbed"])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().out
    assert ended.value.code in (0, None)
    assert "training convnet, epoch 10/10" in shown
    assert "--set pool.members.mine.weights=checkpoint:" in shown and "pool.members.convnet.weights=checkpoint:" in shown

    single = one_worker(config, folder / "single")
    undisturbed = losses(folder / "undisturbed")
    for name in ("mine", "convnet"):
        assert len(undisturbed[name]) == STEPS
        assert undisturbed[name] == pytest.approx(single.losses[name], rel=1e-4)
        assert undisturbed[name] != single.losses[name]  # two workers did share the work: sums have another order

    (folder / "kill").touch()
    (folder / "steps").unlink()
    watched = Watched()
    trained = pretrain(config, folder / "killed", progress=watched, workers=2, checkpoint_seconds=0)
    assert not (folder / "kill").exists(), "no worker died"
    steps = len((folder / "steps").read_text())
    assert STEPS < steps < STEPS + 33, "the workers began anew instead of resuming from a checkpoint"
    assert losses(folder / "killed") == undisturbed
    for name in ("mine.safetensors", "convnet.safetensors"):
        found, wanted = load_file(folder / "killed" / name), load_file(folder / "undisturbed" / name)
        assert all(torch.equal(found[key], wanted[key]) for key in found.keys() | wanted.keys())
    assert watched.epochs[-1] == ("convnet", 10, 10)
    accuracies = json.loads((folder / "killed" / "accuracies.json").read_text())
    assert [entry["accuracy"] for entry in accuracies["networks"]] == [entry.accuracy for entry in trained.networks]
    assert accuracies["split"] == "validation" and all(entry.accuracy > 0.3 for entry in trained.networks)
