"""What a command leaves on the terminal: paths as a user would type them, lines as they are, errors
in one line."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from hmdc_ray.cli.console import fail, run_alone, say, shown
from hmdc_ray.errors import InputError, RunError
from hmdc_ray.system.signals import Interrupted


def test_paths_below_the_current_folder_are_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "runs" / "a") == shown(Path("runs/a")) == "runs/a"
    assert shown(tmp_path.parent / "b") == str(tmp_path.parent / "b")


def test_a_line_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    line = "runs/lr[red] " + "x" * 300
    say(line)
    assert capsys.readouterr().out == f"{line}\n"


def test_a_failure_is_one_line_with_a_hint_below(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        fail("it is\n[broken]", 2, "try [this]")
    assert (ended.value.code, capsys.readouterr().err) == (2, "error: it is [broken]\ntry [this]\n")


@pytest.mark.parametrize(
    ("error", "code"), [(InputError("wrong"), 2), (RunError("died"), 1), (Interrupted(signal.SIGTERM), 128 + signal.SIGTERM)]
)
def test_a_program_of_one_command_ends_as_the_others_do(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["program"])
    with pytest.raises(SystemExit) as ended:
        run_alone(command)
    assert (ended.value.code, capsys.readouterr().err) == (code, f"error: {error}\n")
