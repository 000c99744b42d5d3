"""What is saved is loaded; what was torn or altered is told from it, and passed over."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs

from hmdc_ray.config import ScheduleConfig
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.messages import State
from hmdc_ray.server.checkpoint import FORMAT, CheckpointFolder, Manifest, TolerantSaves
from hmdc_ray.server.storage import ArrowStorage, open_storage

IDENTITY = {"config": {"seed": 3, "images": {"ipc": 1}}, "data": "0123"}


def states(version: int = 0) -> dict[str, State]:
    generator = np.random.default_rng(version)
    server = State({"images": generator.standard_normal((3, 1, 2, 2)), "history": np.zeros((3, 0))}, {"version": version})
    member = State(
        {
            "network/weight": generator.standard_normal((4, 2)).astype(np.float32),
            "network/num_batches_tracked": np.array(5),
            "selection/0": np.arange(4),
        }
    )
    return {"server": server, "mem.ber-1": member}


def files(folder: Path) -> Path:
    return folder / "checkpoint"


def saved(folder: Path, *versions: int, kept: int = 3) -> CheckpointFolder:
    checkpoints = CheckpointFolder(files(folder), kept)
    for version in versions:
        checkpoints.save(version, states(version), IDENTITY)
    return checkpoints


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    loaded = saved(tmp_path, 7).load(7)
    expected = states(7)
    assert loaded.keys() == expected.keys()
    for owner, state in expected.items():
        assert loaded[owner].values == state.values
        assert loaded[owner].arrays.keys() == state.arrays.keys()
        for name, array in state.arrays.items():
            found = loaded[owner].arrays[name]
            assert found.dtype == array.dtype and found.shape == array.shape and found.tobytes() == array.tobytes()


def test_without_room_for_temporary_files_the_same_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "first", 7)
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    saved(tmp_path / "second", 7)
    first, second = (sorted(files(tmp_path / name).iterdir()) for name in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second] and len(first) == 2


def test_the_manifest_names_what_it_is_of(tmp_path: Path) -> None:
    latest = saved(tmp_path, 3, 12).latest()
    assert latest is not None
    assert latest.version == 12 and latest.identity == IDENTITY and latest.file == "000000012.safetensors"


def test_a_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "checkpoint").latest() is None
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize(("kept", "left"), [(1, [100]), (2, [10, 100]), (3, [9, 10, 100])])
def test_the_last_ones_are_kept(tmp_path: Path, kept: int, left: list[int]) -> None:
    checkpoints = saved(tmp_path, 1, 2, 9, 10, 100, kept=kept)
    assert checkpoints.versions() == left
    assert sorted(path.name for path in files(tmp_path).iterdir()) == sorted(
        f"{version:09d}.{ending}" for version in left for ending in ("json", "safetensors")
    )
    for version in left:
        assert checkpoints.load(version)["server"].values == {"version": version}


def test_tensors_without_manifest_are_dropped_with_the_old_ones(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2, kept=2)
    (files(tmp_path) / "000000002.json").unlink()
    for version in (3, 4):
        checkpoints.save(version, states(version), IDENTITY)
    assert {path.stem for path in files(tmp_path).iterdir()} == {"000000003", "000000004"}


def test_foreign_files_stay(tmp_path: Path) -> None:
    files(tmp_path).mkdir()
    foreign = ("notes.json", "00x.safetensors", "\u0661.json", "000000001.txt")
    for name in foreign:
        (files(tmp_path) / name).write_text("mine")
    checkpoints = saved(tmp_path, 5, 6, kept=1)
    checkpoints.clear()
    assert sorted(path.name for path in files(tmp_path).iterdir()) == sorted(foreign)


def test_the_same_states_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        saved(tmp_path / name, 7)
    for name in ("000000007.json", "000000007.safetensors"):
        assert (files(tmp_path / "a") / name).read_bytes() == (files(tmp_path / "b") / name).read_bytes()


def test_saving_a_version_again_replaces_it(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 4)
    checkpoints.save(4, states(5), IDENTITY)
    assert checkpoints.load(4)["server"].values == {"version": 5}


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "truncated":
        data = data[: len(data) // 2]
    elif how == "empty":
        data = bytearray()
    elif how == "longer":
        data += b"\0"
    else:
        data[{"flipped bit in the header": 20, "flipped bit at the end": -3}[how]] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["truncated", "empty", "longer", "flipped bit in the header", "flipped bit at the end"])
@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_damaged_file_is_named_and_the_one_before_is_used(
    how: str, ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    damage(files(tmp_path) / f"000000002.{ending}", how)
    with pytest.raises(InputError, match=rf"000000002\.{ending} "):
        checkpoints.load(2)
    with caplog.at_level(logging.WARNING):
        latest = checkpoints.latest()
    assert latest is not None and latest.version == 1
    assert f"000000002.{ending}" in caplog.text and "the checkpoint before it is used" in caplog.text
    assert checkpoints.load(1)["server"].values == {"version": 1}


def test_a_file_without_manifest_is_no_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    (files(tmp_path) / "000000002.json").unlink()
    latest = checkpoints.latest()
    assert latest is not None and latest.version == 1 and not caplog.text
    with pytest.raises(InputError, match=r"000000002\.json cannot be read: No such file"):
        checkpoints.load(2)


def test_no_whole_checkpoint_is_an_error_that_names_the_newest(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    (files(tmp_path) / "000000001.safetensors").unlink()
    damage(files(tmp_path) / "000000002.safetensors", "truncated")
    with pytest.raises(InputError, match=r"no checkpoint in .* is whole \(checkpoint .*000000002.safetensors is damaged"):
        checkpoints.latest()


NO_MANIFESTS = ["", "{", "[]", "{}", "\x00", "[" * 100_000, '{"format": 2, "version": 1}', '{"format": 2, "version": "x"}']


@pytest.mark.parametrize("text", NO_MANIFESTS, ids=range(len(NO_MANIFESTS)))
def test_a_file_that_is_no_manifest_is_named(text: str, tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    (files(tmp_path) / "000000001.json").write_text(text)
    with pytest.raises(InputError, match=r"000000001.json is no checkpoint manifest"):
        checkpoints.manifest(1)


def test_another_format_is_named(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    path = files(tmp_path) / "000000001.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(InputError, match=f"has format 99: this version of the package reads {FORMAT}"):
        checkpoints.manifest(1)


def test_an_altered_identity_is_damage_and_not_another_configuration(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    path = files(tmp_path) / "000000001.json"
    path.write_text(path.read_text().replace('"seed": 3', '"seed": 2'))
    with pytest.raises(InputError, match=r"000000001\.json is damaged"):
        checkpoints.manifest(1)


@pytest.mark.parametrize("values", ["[]", '{"server": 3}', "{", '{"other": {}}', "[" * 100_000])
def test_tensors_of_strangers_with_the_right_checksum_are_named(values: str, tmp_path: Path) -> None:
    import hashlib

    from safetensors.numpy import save

    data = save({"server/images": np.zeros(1)}, metadata={"values": values})
    files(tmp_path).mkdir()
    (files(tmp_path) / "000000001.safetensors").write_bytes(data)
    manifest = Manifest(1, "000000001.safetensors", hashlib.sha256(data).hexdigest(), IDENTITY)
    (files(tmp_path) / "000000001.json").write_bytes(manifest.to_bytes())
    with pytest.raises(InputError, match=r"000000001\.safetensors holds no checkpoint"):
        CheckpointFolder(files(tmp_path)).load(1)


def test_a_manifest_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    elsewhere = tmp_path / "000000001.safetensors"
    (files(tmp_path) / "000000001.safetensors").rename(elsewhere)
    manifest = Manifest(1, str(elsewhere), checkpoints.manifest(1).sha256, IDENTITY)
    (files(tmp_path) / "000000001.json").write_bytes(manifest.to_bytes())
    with pytest.raises(InputError, match=r"checkpoint/000000001\.safetensors cannot be read: No such file"):
        checkpoints.load(1)


# Places


@pytest.mark.parametrize("place", ["plain", "relative", "file", "within"])
def test_places_of_this_machine(place: str, tmp_path: Path) -> None:
    target = tmp_path / "run" / "far away"
    location = {"plain": str(target), "relative": "far away", "file": target.as_uri(), "within": None}[place]
    schedule = ScheduleConfig(checkpoint_uri=location, checkpoints_kept=1)
    checkpoints = CheckpointFolder.of_run(tmp_path / "run", schedule)
    for version in (1, 2):
        checkpoints.save(version, states(version), IDENTITY)
    folder = tmp_path / "run" / "checkpoint" if place == "within" else target
    assert {path.name for path in folder.iterdir()} == {"000000002.json", "000000002.safetensors"}
    latest = pickle.loads(pickle.dumps(checkpoints)).latest()
    assert latest == checkpoints.latest() and latest.version == 2


@pytest.mark.parametrize("kind", ["mock", "subtree"])
def test_any_arrow_file_system(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    system = fs._MockFileSystem() if kind == "mock" else fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    checkpoints = CheckpointFolder(ArrowStorage(system, "bucket/run", "s3://bucket/run/"), kept=2)
    assert checkpoints.latest() is None and checkpoints.versions() == []
    for version in (1, 2, 3):
        checkpoints.save(version, states(version), IDENTITY)
    assert checkpoints.versions() == [2, 3] and checkpoints.saved_at(3) >= 0
    assert checkpoints.load(3)["server"].values == {"version": 3}
    with system.open_output_stream("bucket/run/000000003.safetensors") as stream:
        stream.write(b"torn")
    latest = checkpoints.latest()
    assert latest is not None and latest.version == 2
    assert "s3://bucket/run/000000003.safetensors is damaged" in caplog.text
    checkpoints.clear()
    assert checkpoints.storage.names() == []
    with pytest.raises(InputError, match=r"s3://bucket/run/000000002\.json cannot be read"):
        checkpoints.load(2)


@pytest.mark.parametrize("location", ["ftp://x", "s3://[", "nothing://"])
def test_an_unknown_address_is_named(location: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"schedule.checkpoint_uri is .*, which cannot be opened .*: give a path") as caught:
        open_storage(location, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_password_in_an_address_is_refused() -> None:
    with pytest.raises(ValueError, match="checkpoint_uri holds a password"):
        ScheduleConfig(checkpoint_uri="s3://key:secret@bucket/run")


# Failed saves


def test_saves_may_fail_until_there_are_too_many_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise InputError("a.json cannot be written: No space left on device")

    saves = TolerantSaves(3)
    for _ in range(2):
        assert str(saves.attempt(fail)) == "a.json cannot be written: No space left on device"
    assert "the run continues without this checkpoint (2 of 3)" in caplog.text
    assert saves.attempt(lambda: None) is None
    assert saves.attempt(fail) is not None and saves.attempt(fail) is not None
    with pytest.raises(
        InputError, match=r"No space left .* \(3 failed saves in a row, .*: make room there, or copy the checkpoints"
    ):
        saves.attempt(fail)
    with pytest.raises(InputError):
        TolerantSaves(1).attempt(fail)


def test_programming_errors_are_not_tolerated() -> None:
    with pytest.raises(ZeroDivisionError):
        TolerantSaves(3).attempt(lambda: 1 / 0)
