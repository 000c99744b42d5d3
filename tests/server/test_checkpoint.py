from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.messages import State
from hmdc_ray.server.checkpoint import CheckpointFolder

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


def saved(folder: Path, *versions: int) -> CheckpointFolder:
    checkpoints = CheckpointFolder(folder / "checkpoint")
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


def test_the_manifest_names_what_it_is_of(tmp_path: Path) -> None:
    latest = saved(tmp_path, 3, 12).latest()
    assert latest is not None
    assert latest.version == 12 and latest.identity == IDENTITY and latest.file == "000000012.safetensors"


def test_a_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "checkpoint").latest() is None
    assert not (tmp_path / "checkpoint").exists()


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2, 9, 10, 100)
    assert sorted(path.name for path in checkpoints.path.iterdir()) == [
        "000000010.json",
        "000000010.safetensors",
        "000000100.json",
        "000000100.safetensors",
    ]
    assert checkpoints.load(10)["server"].values == {"version": 10}


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
def test_a_damaged_file_is_refused_and_the_one_before_still_loads(how: str, tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    damage(checkpoints.path / "000000002.safetensors", how)
    with pytest.raises(InputError, match=r"000000002.safetensors is damaged: .* delete 000000002.json to go on"):
        checkpoints.load(2)
    (checkpoints.path / "000000002.json").unlink()
    latest = checkpoints.latest()
    assert latest is not None and latest.version == 1
    assert checkpoints.load(1)["server"].values == {"version": 1}


def test_a_file_without_manifest_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    (checkpoints.path / "000000002.json").unlink()
    latest = checkpoints.latest()
    assert latest is not None and latest.version == 1
    with pytest.raises(InputError, match=r"000000002\.json is no checkpoint manifest"):
        checkpoints.load(2)


def test_a_manifest_without_file_is_named(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    (checkpoints.path / "000000001.safetensors").unlink()
    with pytest.raises(InputError, match=r"checkpoint .*000000001.safetensors cannot be read: No such file"):
        checkpoints.load(1)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\x00", '{"format": 1, "version": 1}', '{"format": 1, "version": "x"}'])
def test_a_damaged_manifest_is_named(text: str, tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    (checkpoints.path / "000000001.json").write_text(text)
    with pytest.raises(InputError, match=r"000000001.json is no checkpoint manifest .*: delete it"):
        checkpoints.latest()


def test_another_format_is_named(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    path = checkpoints.path / "000000001.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(InputError, match="has format 99: this version of the package reads 1"):
        checkpoints.latest()


def test_a_manifest_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    manifest = checkpoints.path / "000000001.json"
    elsewhere = tmp_path / "000000001.safetensors"
    (checkpoints.path / "000000001.safetensors").rename(elsewhere)
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"file": str(elsewhere)}))
    with pytest.raises(InputError, match="cannot be read"):
        checkpoints.load(1)


def test_a_failed_save_leaves_earlier_checkpoints_and_no_debris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    before = sorted(path.name for path in checkpoints.path.iterdir())

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match="No space left on device"):
        checkpoints.save(3, states(3), IDENTITY)
    assert sorted(path.name for path in checkpoints.path.iterdir()) == before
    assert checkpoints.load(2)["server"].values == {"version": 2}
