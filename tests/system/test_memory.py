from __future__ import annotations

import ctypes
import errno
import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hmdc_ray.system.memory import free_bytes, on_disk, own_bytes

FAULTS = """
import resource, sys
import torch
from hmdc_ray.system.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def tensors():
    for _ in range(20):
        first = torch.ones(2**24)  # 64 MiB
        second = first * 2
        del first, second

tensors()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
tensors()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


OWN = """
import numpy as np
from hmdc_ray.system import memory
from hmdc_ray.system.memory import own_bytes

memory.SPARE = 0.0
before = own_bytes()
array = memory.on_disk((2**10, 2**14), np.float32)  # 64 MiB
assert not array.any()
array += 1
on_disk = own_bytes()
assert array.sum(dtype=np.float64) == 2**24
in_memory = array + 1
print(on_disk - before, own_bytes() - on_disk)
"""


def printed(program: str, *arguments: str) -> list[int]:
    """Of a process of its own: settings cannot be taken back, and what another test has freed would
    be used again."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200, cwd=Path(__file__).parents[1])
    return [int(number) for number in done.stdout.split()]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not the GNU C library")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    (plain,), (kept,) = printed(FAULTS, "plain"), printed(FAULTS, "kept")
    assert plain > 1000
    assert kept < plain / 20


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room on a disk cannot be reserved")
def test_what_lies_on_disk_is_not_the_process_own_memory() -> None:
    on_disk_takes, in_memory_takes = printed(OWN)
    assert on_disk_takes < 2**23
    assert in_memory_takes > 2**25


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room on a disk cannot be reserved")
def test_nothing_stays_in_the_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("hmdc_ray.system.memory.SPARE", 0.0)
    array = on_disk((3, 4), np.int64)
    array[1] = 7
    assert list(tmp_path.iterdir()) == []
    assert isinstance(array.base, np.memmap)
    assert array.dtype == np.int64 and array.tolist() == [[0] * 4, [7] * 4, [0] * 4]


def test_room_on_the_disk_is_reserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmdc_ray.system.memory.SPARE", 0.0)
    reserved = []
    monkeypatch.setattr(os, "posix_fallocate", lambda *arguments: reserved.append(arguments[1:]), raising=False)
    on_disk((3, 4), np.int64)
    assert reserved == [(0, 96)]


@pytest.mark.parametrize("failure", ["full", "nearly full", "no folder", "cannot reserve", "nothing to hold"])
def test_without_room_on_the_disk_it_lies_in_memory(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if failure == "full":
        monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    elif failure == "nearly full":
        monkeypatch.setattr("hmdc_ray.system.memory.SPARE", 1.0)
    elif failure == "no folder":
        monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    elif failure == "cannot reserve":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    shape = (0, 3) if failure == "nothing to hold" else (5, 3)
    array = on_disk(shape, np.float32)
    assert array.base is None, "a file stands for it"
    array[:] = 2
    assert array.shape == shape and array.dtype == np.float32 and array.sum() == 2 * array.size


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_own_memory_grows_with_an_array_and_not_with_a_file(tmp_path: Path) -> None:
    before = own_bytes()
    array = np.frombuffer(mmap.mmap(-1, 2**26, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)  # fresh pages
    array[:] = 1
    taken = own_bytes() - before
    assert 2**26 * 0.9 < taken < 2**26 * 1.1
    (tmp_path / "file").write_bytes(bytes(2**26))
    mapped = np.memmap(tmp_path / "file", np.uint8, "r")
    assert not mapped[:: 2**12].any() and own_bytes() - before < taken + 2**24


@pytest.mark.parametrize(
    ("folder", "limit", "used", "cached"),
    [
        (".", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_a_container_has_what_its_limit_leaves(folder: str, limit: str, used: str, cached: str, tmp_path: Path) -> None:
    """Of 5,000,000 bytes 3,000,000 are used, of which 500,000 are cached files."""
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    (place / limit).write_text("5000000\n")
    (place / used).write_text("3000000\n")
    (place / "memory.stat").write_text(f"anon 7\n{cached} 500000\n")
    assert free_bytes(tmp_path) == 2_500_000
    (place / limit).write_text("1000000\n")
    assert free_bytes(tmp_path) == 0
    (place / limit).write_text("max\n")
    assert free_bytes(tmp_path) > 10_000_000
    assert free_bytes(tmp_path / "nowhere") > 10_000_000
