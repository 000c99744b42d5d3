"""The configuration of a command that starts a run, and how to resume one that was stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from whole_runs import STEPS, CommandLine, tiniest, write_config, write_images

from hmdc_ray.cli.terminal import TerminalProgress
from hmdc_ray.config import RunConfig
from hmdc_ray.config.presets import preset


@pytest.mark.parametrize(("given", "expected"), [("images.ipc=10", 10), ("images={ipc: 50}", 50), ("seed=1", None)])
def test_a_preset_follows_the_images_per_class(
    hmdc: CommandLine, monkeypatch: pytest.MonkeyPatch, given: str, expected: int | None
) -> None:
    shown: list[RunConfig] = []
    monkeypatch.setattr("hmdc_ray.cli.dry_run.show_plan", lambda config, *_: shown.append(config))
    hmdc.succeeds("condense", "dc", "--dry-run", "--set", given, "--set", "schedule.batch=7")
    (config,) = shown
    assert config.schedule == preset("dc", ipc=expected).schedule.model_copy(update={"batch": 7})
    assert config.images.ipc == preset("dc", ipc=expected).images.ipc


def test_images_per_class_must_fit_before_a_preset_follows_them(hmdc: CommandLine) -> None:
    refused = hmdc("condense", "dc", "--dry-run", "--set", "images.ipc=-1")
    assert refused.code == 2 and "images.ipc is -1: must be a whole number" in refused.err


def test_images_given_as_a_configuration_are_shown_their_place(hmdc: CommandLine, tmp_path: Path) -> None:
    write_images(tmp_path / "shapes" / "train.parquet", [0, 1])
    for words in (("shapes",), ("shapes/train.parquet",)):
        refused = hmdc("condense", *words)
        assert refused.code == 2 and f"hmdc condense dc --data {words[0]}" in refused.err


def test_a_run_that_is_stopped_says_where_and_how_to_resume(
    hmdc: CommandLine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path / "tiny.yaml", tiniest(home))

    def stop_after_two(self: TerminalProgress, done: int, total: int, *more: object) -> None:
        self._steps = done, total
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as stopping:
        stopping.setattr(TerminalProgress, "step", stop_after_two)
        stopped = hmdc("condense", "tiny.yaml", "--output", "my run", "--overwrite")
    assert stopped.code == 128 + signal.SIGTERM
    assert f"stopped by SIGTERM after step 2 of {STEPS}. Resume with:" in stopped.err
    assert stopped.err.endswith("\n  hmdc condense tiny.yaml --output 'my run' --resume\n")
    assert f"resuming from step 2 of {STEPS}" in hmdc.succeeds("condense", "tiny.yaml", "--output", "my run", "--resume")
