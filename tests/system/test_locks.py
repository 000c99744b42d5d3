"""Locks exclude other processes, tell them whom they wait for, and disturb nobody who looks."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.system import locks
from hmdc_ray.system.locks import LOCK_FILE, lock_for_life, lock_owner, locked


def test_a_lock_excludes_others_until_it_is_let_go(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as other:
        with locked(tmp_path / "lock", "writes"), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_who_waits_for_a_lock_says_for_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "TELL_SECONDS", 0.0)
    lock, waits = tmp_path / "lock", 0

    def check() -> None:
        nonlocal waits
        waits += 1
        if waits == 3:
            raise KeyboardInterrupt

    with locked(lock, "decodes"), pytest.raises(KeyboardInterrupt), locked(lock, "decodes", check):
        pytest.fail("it is locked")
    assert caplog.messages == [f"process {os.getpid()} decodes: waiting until it has released {lock}"]
    with locked(lock, "decodes", check):
        assert waits == 3


def test_several_processes_can_look_for_the_owner_at_once(tmp_path: Path) -> None:
    lock_for_life(tmp_path).release()
    with (tmp_path / LOCK_FILE).open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # as another process that looks
        assert lock_owner(tmp_path) is None
    lock = lock_for_life(tmp_path)
    assert lock_owner(tmp_path) == str(os.getpid())
    lock.release()
    assert lock_owner(tmp_path) is None


def test_a_file_that_cannot_be_locked_is_named_and_no_folder_made(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).mkdir()
    with pytest.raises(InputError, match=rf"{LOCK_FILE} cannot be locked: Is a directory"):
        lock_for_life(tmp_path)
    with pytest.raises(InputError, match=rf"missing/{LOCK_FILE} cannot be locked: No such file"):
        lock_for_life(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
