"""Files are whole or untouched, and lines survive a crash."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.system.files import append_json_line, atomic_path, read_json_lines, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


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
