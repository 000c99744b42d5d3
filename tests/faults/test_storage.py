"""Disks that are full, fail or cannot be written, and files that were cut or altered: the
checkpoint before is always there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from pyarrow import fs
from whole_runs import condense_here, pixels, tiniest, tree, without_ray

from hmdc_ray.errors import InputError
from hmdc_ray.exchange.messages import State
from hmdc_ray.run.condense import condense
from hmdc_ray.server.checkpoint import CheckpointFolder
from hmdc_ray.server.storage import ArrowStorage
from hmdc_ray.system.files import LineLog, read_json_lines

IDENTITY = {"config": {"seed": 3, "images": {"ipc": 1}}, "data": "0123"}


def states(version: int, kilobytes: int = 1) -> dict[str, State]:
    images = np.random.default_rng(version).standard_normal((kilobytes, 128))
    return {"server": State({"images": images}, {"version": version})}


@pytest.fixture
def checkpoints(tmp_path: Path) -> CheckpointFolder:
    made = CheckpointFolder(tmp_path / "checkpoint")
    for version in (1, 2):
        made.save(version, states(version), IDENTITY)
    return made


def uses(checkpoints: CheckpointFolder, version: int) -> None:
    latest = checkpoints.latest()
    assert latest is not None and latest.version == version
    assert np.array_equal(checkpoints.load(version)["server"].arrays["images"], states(version)["server"].arrays["images"])


# Saves that fail. The tests may run as root, whom no permission stops: the calls themselves fail.
CALLS = ("open", "write", "fsync", "replace")
FAULTS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT)


def break_disk(monkeypatch: pytest.MonkeyPatch, call: str, number: int, ending: str) -> None:
    """Let one kind of call fail for files whose final name ends so."""

    def failing(original: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        def replacement(*arguments: Any, **options: Any) -> Any:
            if name(*arguments).endswith(ending):
                raise OSError(number, os.strerror(number))
            return original(*arguments, **options)

        return replacement

    def behind(descriptor: int) -> str:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())

    if call == "open":
        monkeypatch.setattr(Path, "write_bytes", failing(Path.write_bytes, lambda path, _: str(path)))
    elif call == "write":
        original = Path.write_bytes

        def half(path: Path, data: bytes) -> int:
            if path.name.endswith(ending):
                original(path, data[: len(data) // 2])
                raise OSError(number, os.strerror(number))
            return original(path, data)

        monkeypatch.setattr(Path, "write_bytes", half)
    elif call == "fsync":
        monkeypatch.setattr(os, "fsync", failing(os.fsync, behind))
    else:
        monkeypatch.setattr(Path, "replace", failing(Path.replace, lambda path, _: str(path)))


@pytest.mark.parametrize("number", FAULTS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("ending", ["3.json", "3.safetensors"])
def test_a_failed_save_leaves_earlier_checkpoints_and_nothing_else(
    call: str, number: int, ending: str, checkpoints: CheckpointFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(tmp_path)
    with monkeypatch.context() as disk:
        break_disk(disk, call, number, ending)
        with pytest.raises(InputError, match=rf"00000000{ending} cannot be written: {os.strerror(number)}"):
            checkpoints.save(3, states(3), IDENTITY)
    assert tree(tmp_path) == before
    uses(checkpoints, 2)
    checkpoints.save(3, states(3), IDENTITY)
    uses(checkpoints, 3)


def test_a_failed_sync_of_the_folder_fails_the_save(checkpoints: CheckpointFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", _failing_for_folders)
        with pytest.raises(InputError, match="Input/output error"):
            checkpoints.save(3, states(3), IDENTITY)
    uses(checkpoints, 2)


def _failing_for_folders(descriptor: int) -> None:
    if Path(f"/proc/self/fd/{descriptor}").is_dir():
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_what_cannot_be_removed_fails_no_save(
    checkpoints: CheckpointFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.exists():
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    checkpoints.kept = 1
    with monkeypatch.context() as disk:
        disk.setattr(Path, "unlink", refuse)
        checkpoints.save(3, states(3), IDENTITY)
    assert checkpoints.versions() == [1, 2, 3] and "an old checkpoint could not be removed" in caplog.text
    uses(checkpoints, 3)


@pytest.mark.parametrize("number", FAULTS[:2], ids=errno.errorcode.get)
def test_a_file_that_cannot_be_read_is_passed_over(
    number: int, checkpoints: CheckpointFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = Path.read_bytes

    def broken(path: Path) -> bytes:
        if path.name == "000000002.safetensors":
            raise OSError(number, os.strerror(number))
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", broken)
    uses(checkpoints, 1)
    assert f"000000002.safetensors cannot be read: {os.strerror(number)}" in caplog.text


class ObjectStore(MemoryFileSystem):  # type: ignore[misc]
    """Takes files until it is told to fail."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, Any] = {}
        self.pseudo_dirs = [""]
        self.fault: OSError | None = None

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if self.fault is not None and mode == "wb":
            raise self.fault
        return super()._open(path, mode, **options)


@pytest.mark.parametrize("number", FAULTS, ids=errno.errorcode.get)
def test_an_object_store_that_fails(number: int) -> None:
    store = ObjectStore()
    system = fs.PyFileSystem(fs.FSSpecHandler(store))
    checkpoints = CheckpointFolder(ArrowStorage(system, "bucket", "gs://bucket"))
    checkpoints.save(1, states(1), IDENTITY)
    store.fault = OSError(number, os.strerror(number))
    with pytest.raises(InputError, match=rf"gs://bucket/000000002\.safetensors cannot be written: .*{os.strerror(number)}"):
        checkpoints.save(2, states(2), IDENTITY)
    store.fault = None
    uses(checkpoints, 1)


def test_a_checkpoint_cut_at_every_kilobyte_is_passed_over(tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(tmp_path)
    checkpoints.save(1, states(1), IDENTITY)
    checkpoints.save(2, states(2, kilobytes=64), IDENTITY)
    cases = 0
    for ending in (".safetensors", ".json"):
        file = tmp_path / f"000000002{ending}"
        whole = file.read_bytes()
        for length in (*range(0, len(whole), 1024 if ending == ".safetensors" else 64), len(whole) - 1):
            file.write_bytes(whole[:length])
            before = tree(tmp_path)
            uses(checkpoints, 1)
            assert tree(tmp_path) == before
            cases += 1
        file.write_bytes(whole)
    assert cases > 70


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """Three bits in each byte of the manifest and of the tensors' header, one in each 16 bytes of
    the tensors themselves."""
    checkpoints = CheckpointFolder(tmp_path)
    checkpoints.save(2, states(2), IDENTITY)
    for ending in (".json", ".safetensors"):
        file = tmp_path / f"000000002{ending}"
        whole = file.read_bytes()
        header = len(whole) if ending == ".json" else 160
        for bit in (*range(0, header * 8, 3), *range(header * 8, len(whole) * 8, 131)):
            altered = bytearray(whole)
            altered[bit // 8] ^= 1 << bit % 8
            file.write_bytes(altered)
            with pytest.raises(InputError, match=rf"000000002{ending}"):
                checkpoints.load(2)
        file.write_bytes(whole)
    uses(checkpoints, 2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with checkpoints at steps 2, 4 and 6, which is its end."""
    folder = tmp_path_factory.mktemp("finished")
    condense_here(tiniest(folder), folder / "run")
    return folder


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_run_goes_on_from_the_checkpoint_before_to_the_same_pixels(
    ending: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without_ray(monkeypatch)
    folder = tmp_path / "run"
    shutil.copytree(finished / "run", folder)
    file = folder / "checkpoint" / f"000000006.{ending}"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    (folder / "condensed.parquet").unlink()
    condense(tiniest(finished), folder, resume=True)
    assert f"000000006.{ending}" in caplog.text and "the checkpoint before it is used" in caplog.text
    assert pixels(folder) == pixels(finished / "run")
    assert [record["step"] for record in read_json_lines(folder / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert file.read_bytes() == whole


def crafted(folder: Path, change: dict[str, Any]) -> None:
    """Save a checkpoint of step 6 again, with other arrays of the server and the right
    checksums."""
    checkpoints = CheckpointFolder(folder / "checkpoint")
    server = checkpoints.load(6)["server"]
    checkpoints.save(6, {"server": State(server.arrays | change, server.values)}, checkpoints.manifest(6).identity)


@pytest.mark.parametrize(
    "change",
    [
        {"images": np.zeros((3, 1, 1, 4, 4), np.float32)},
        {"images": np.full((3, 1, 1, 16, 16), np.nan, np.float32)},
        {"momentum": np.zeros((3, 1, 1, 16, 16), np.int64)},
    ],
)
def test_a_checkpoint_of_strangers_cannot_bring_other_images(
    change: dict[str, Any], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ray(monkeypatch)
    folder = tmp_path / "run"
    shutil.copytree(finished / "run", folder)
    crafted(folder, change)
    before = tree(folder)
    with pytest.raises(
        InputError, match=r"000000006\.safetensors does not hold finite images and momentum of shape \(3, 1, 1, 16"
    ):
        condense(tiniest(finished), folder, resume=True)
    assert tree(folder) == before


def test_lines_wait_for_a_disk_that_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from hmdc_ray.system import files

    def full(*_: object) -> None:
        raise InputError("metrics.jsonl cannot be written: No space left on device")

    log = LineLog(tmp_path / "metrics.jsonl")
    log.add({"step": 1})
    with monkeypatch.context() as disk:
        disk.setattr(files, "append_json_line", full)
        log.add({"step": 2})
        log.add({"step": 3})
    assert len(caplog.records) == 1 and "wait in memory" in caplog.text
    log.add({"step": 4})
    assert [record["step"] for record in read_json_lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
