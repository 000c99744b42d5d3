"""The commands as a user types them, in this process: presets, prepare, condense, evaluate,
architectures."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from whole_runs import STEPS, CommandLine, tiniest, write_config

from hmdc_ray.cli.main import main
from hmdc_ray.cli.terminal import TerminalProgress
from hmdc_ray.errors import InputError
from hmdc_ray.server.storage import LocalStorage


def test_help_names_the_commands(hmdc: CommandLine) -> None:
    for words in ((), ("--help",)):
        listing = hmdc.succeeds(*words)
        for command in ("condense", "evaluate", "presets", "prepare", "architectures", "import", "export"):
            assert command in listing


def test_a_run_that_fails_says_how_to_resume(
    hmdc: CommandLine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path / "tiny.yaml", tiniest(home, schedule={"checkpoint_failures": 1}))
    write = LocalStorage.write

    def full(self: LocalStorage, name: str, data: bytes) -> None:
        if name.startswith("000000004"):
            raise InputError(f"{self.place(name)} cannot be written: No space left on device")
        write(self, name, data)

    with monkeypatch.context() as disk:
        disk.setattr(LocalStorage, "write", full)
        failed = hmdc("condense", "tiny.yaml", "--output", "my run", "--overwrite")
    assert failed.code == 2 and "No space left on device (1 failed saves in a row" in failed.err
    command = "hmdc condense tiny.yaml --output 'my run' --resume"
    assert failed.err.endswith(f"\nWhen that is mended, resume with:\n  {command}\n")

    def broken(self: TerminalProgress, *_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as program, pytest.raises(ZeroDivisionError) as caught:
        program.setattr(TerminalProgress, "step", broken)
        program.setattr(sys, "argv", shlex.split(command))
        main()
    assert caught.value.__notes__ == [f"When that is mended, resume with:\n  {command}"]
    assert f"resuming from step 2 of {STEPS}" in hmdc.succeeds(*shlex.split(command)[1:])
