"""A run's folder: claimed by one process, and never taken from another run unasked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.run.folder import RunFolder


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def claims() -> Iterator[list[RunFolder]]:
    """Folders to release at the end of the test."""
    folders: list[RunFolder] = []
    yield folders
    for folder in folders:
        folder.release()


def test_a_new_folder_is_made_and_claimed(tmp_path: Path, claims: list[RunFolder]) -> None:
    claims.append(RunFolder.claim(tmp_path / "runs" / "a"))
    assert names(tmp_path / "runs" / "a") == [".lock"]
    with pytest.raises(InputError, match=f"folder in use by process {os.getpid()}: wait"):
        RunFolder.claim(tmp_path / "runs" / "a")
    claims[0].release()
    claims[0].release()
    claims.append(RunFolder.claim(tmp_path / "runs" / "a"))


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
def test_a_folder_in_use_is_in_use_whatever_the_flags(tmp_path: Path, claims: list[RunFolder], flags: dict[str, Any]) -> None:
    claims.append(RunFolder.claim(tmp_path))
    (tmp_path / "config.yaml").write_text("seed: 0")
    with pytest.raises(InputError, match="folder in use"):
        RunFolder.claim(tmp_path, **flags)
    assert (tmp_path / "config.yaml").exists()


def test_a_killed_process_leaves_the_folder_free(tmp_path: Path, claims: list[RunFolder]) -> None:
    program = f"""
import sys
from pathlib import Path
from hmdc_ray.run.folder import RunFolder
folder = RunFolder.claim(Path({str(tmp_path)!r}))
(folder.path / "config.yaml").write_text("seed: 0")
print("claimed", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"claimed\n"
        with pytest.raises(InputError, match=f"in use by process {process.pid}"):
            RunFolder.claim(tmp_path, resume=True)
        process.kill()
        process.wait()
    claims.append(RunFolder.claim(tmp_path, resume=True))


def fill(folder: Path, *entries: str) -> None:
    for entry in entries:
        path = folder / entry
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")


def test_a_run_is_neither_overwritten_nor_resumed_unasked(tmp_path: Path) -> None:
    fill(tmp_path, "config.yaml", "condensed.parquet")
    with pytest.raises(InputError, match=r"already holds a run: use --resume to continue it, --overwrite to replace it"):
        RunFolder.claim(tmp_path)
    assert names(tmp_path) == ["condensed.parquet", "config.yaml"]


def test_resume_keeps_what_is_there_but_leftovers(tmp_path: Path, claims: list[RunFolder]) -> None:
    fill(tmp_path, "config.yaml", "checkpoint/state", ".hmdc-tmp-0-images.png")
    claims.append(RunFolder.claim(tmp_path, resume=True))
    assert names(tmp_path) == [".lock", "checkpoint", "config.yaml"]


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"new holds no run \(no config.yaml\), nothing to resume"):
        RunFolder.claim(tmp_path / "new", resume=True)
    assert names(tmp_path) == []


def test_overwrite_removes_the_run_and_nothing_else(tmp_path: Path, claims: list[RunFolder]) -> None:
    fill(tmp_path, "config.yaml", "condensed.parquet", "metrics.jsonl", "checkpoint/a/b", "images.png", "notes.txt", "sub/x")
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    fill(outside, "kept")
    (tmp_path / "events.jsonl").symlink_to(outside)
    claims.append(RunFolder.claim(tmp_path, overwrite=True))
    assert (tmp_path / "config.yaml").exists()
    claims[0].clear()
    assert names(tmp_path) == [".lock", "notes.txt", "sub"]
    assert names(outside) == ["kept"]


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
def test_a_folder_that_is_not_a_runs_stays_as_it_is(tmp_path: Path, flags: dict[str, Any]) -> None:
    fill(tmp_path, "thesis.tex", "checkpoint/weights")
    with pytest.raises(InputError, match="holds"):
        RunFolder.claim(tmp_path, **flags)
    assert names(tmp_path) == ["checkpoint", "thesis.tex"]


def test_overwriting_nothing_is_fine(tmp_path: Path, claims: list[RunFolder]) -> None:
    claims.append(RunFolder.claim(tmp_path / "new", overwrite=True))
    assert claims[0].path == tmp_path / "new"


def test_contradictions_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="contradict"):
        RunFolder.claim(tmp_path, overwrite=True, resume=True)
    fill(tmp_path, "file")
    with pytest.raises(InputError, match="file is a file: --output must be a folder"):
        RunFolder.claim(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be made: Not a directory"):
        RunFolder.claim(tmp_path / "file" / "below")
