"""The command ``hmdc pretrain``; the training itself is left out."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from whole_runs import CommandLine

from hmdc_ray.pretrain.report import Pretrained, TrainedNetwork
from hmdc_ray.system.signals import Interrupted


def test_options_reach_the_training_and_the_next_command_is_told(
    hmdc: CommandLine, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def pretrain(*given: Any, **options: Any) -> Pretrained:
        calls.append((*given, options))
        network = TrainedNetwork("lenet", "lenet", {}, "scratch", 3, 6, 0.1, 0.5)
        facts = {"split": "test", "seed": 9, "workers": 2, "data_source": "", "data_fingerprint": "", "version": "0"}
        return Pretrained(networks=(network,), **facts)  # type: ignore[arg-type]

    monkeypatch.setattr("hmdc_ray.pretrain.pretrain", pretrain)
    words = ("--epochs", 3, "--seed", 9, "--workers", 2, "--architectures", "lenet", "--split", "test")
    out = hmdc.succeeds("pretrain", finished / "tiny.yaml", *words, "--set", "images.ipc=2")
    ((config, folder, options),) = calls
    assert (config.seed, config.evaluation.whole_data_epochs, config.images.ipc) == (9, 3, 2)
    assert folder == Path("pretrained/tiny")
    assert [options[name] for name in ("workers", "architectures", "split", "resume")] == [2, "lenet", "test", False]
    assert "weights     pretrained/tiny\n" in out
    weights = f"{folder.absolute()}/lenet.safetensors"
    next_command = (
        f"hmdc condense {finished}/tiny.yaml --set images.ipc=2 --set pool.members.lenet.weights=checkpoint:{weights}"
    )
    assert f"next        {next_command}\n" in out


def test_a_training_that_is_stopped_says_how_to_resume(
    hmdc: CommandLine, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pretrain(*_: Any, progress: Any, **__: Any) -> Pretrained:
        progress.stage("training networks")
        stopped = Interrupted(signal.SIGTERM)
        stopped.resumable = True
        raise stopped

    monkeypatch.setattr("hmdc_ray.pretrain.pretrain", pretrain)
    stopped = hmdc("pretrain", finished / "tiny.yaml")
    assert stopped.code == 128 + signal.SIGTERM
    command = f"hmdc pretrain {finished}/tiny.yaml --resume"
    assert stopped.err == f"stopped by SIGTERM while training networks. Resume with:\n  {command}\n"
