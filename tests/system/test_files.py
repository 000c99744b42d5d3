"""Files are whole or untouched, lines survive a crash, and a run's folder is used by one run."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.run.folder import RunFolder
from hmdc_ray.system.files import append_json_line, atomic_path, read_json_lines, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def claims() -> Iterator[list[RunFolder]]:
    """Folders to release at the end of the test."""
    folders: list[RunFolder] = []
    yield folders
    for folder in folders:
        folder.release()


@pytest.mark.parametrize(("data", "content"), [("grün\n", b"gr\xc3\xbcn\n"), (b"\x00\xff", b"\x00\xff")])
def test_a_file_is_written_and_replaced(tmp_path: Path, data: str | bytes, content: bytes) -> None:
    file = tmp_path / "a.json"
    for _ in range(2):
        write_atomically(file, data)
        assert file.read_bytes() == content
    assert names(tmp_path) == ["a.json"]


def test_the_temporary_file_has_the_suffix_and_folder_of_the_target(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "images.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        temporary.write_text("x")
        assert not (tmp_path / "images.png").exists()
    assert names(tmp_path) == ["images.png"]


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ValueError("other"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path: Path, fault: BaseException) -> None:
    file = tmp_path / "a.bin"
    file.write_text("old")
    expected = InputError if isinstance(fault, OSError) else type(fault)
    with pytest.raises(expected) as caught, atomic_path(file) as temporary:
        temporary.write_text("half")
        raise fault
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.bin"]
    if isinstance(fault, OSError):
        assert str(caught.value) == f"{file} cannot be written: No space left on device"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_while_appending_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"metrics.jsonl cannot be written: No space left on device"):
        append_json_line(file, {"a": 1})


def test_what_cannot_be_replaced_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="a cannot be written: Is a directory"):
        write_atomically(tmp_path / "a", "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written: (Not a directory|File exists)"):
        write_atomically(tmp_path / "file" / "a", "x")
    assert names(tmp_path) == ["a", "file"]


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    write_atomically(tmp_path / "none" / "a", "x")
    assert (tmp_path / "none" / "a").read_text() == "x"


def test_json_lines_read_back(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    assert read_json_lines(file) == []
    append_json_line(file, {"step": 1, "text": "a\nb"})
    append_json_line(file, {"loss": math.inf})
    assert read_json_lines(file) == [{"step": 1, "text": "a\nb"}, {"loss": math.inf}]
    assert file.read_text().count("\n") == 2


@pytest.mark.parametrize("torn", ['{"step": 2', '{"step": 2}'])
def test_a_torn_last_line_is_left_out_and_cut_off(tmp_path: Path, torn: str) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text('{"step":1}\n' + torn)
    assert read_json_lines(file) == [{"step": 1}]
    append_json_line(file, {"step": 3})
    assert read_json_lines(file) == [{"step": 1}, {"step": 3}]


def test_a_file_of_one_torn_line_starts_anew(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text('{"st')
    append_json_line(file, {"step": 0})
    assert read_json_lines(file) == [{"step": 0}]


@pytest.mark.parametrize("line", ["{broken", "[1]", "", "\udcff"])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "m.jsonl"
    file.write_bytes(f'{{"a":1}}\n{line}\n{{"a":2}}\n'.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"m.jsonl line 2 is .* must be a JSON object"):
        read_json_lines(file)


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
