"""What is there is never replaced unless asked, and whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.interchange.formats import export_set, import_set
from interchange.sets import content, make_set


@pytest.mark.parametrize("file_format", ["npz", "safetensors", "pt", "dd-ranking", "image-folder"])
def test_existing_output_is_kept_unless_asked(file_format: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_set(make_set(), out, file_format)
    before = content(tmp_path)

    with pytest.raises(InputError, match=r"out exists already: .*--overwrite|out is a folder"):
        export_set(make_set(1), out, file_format)
    assert content(tmp_path) == before
    export_set(make_set(1), out, file_format, overwrite=True)

    assert import_set(out, file_format).condensed.images.shape[1] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("file_format", ["npz", "safetensors", "pt", "dd-ranking", "image-folder"])
def test_failure_keeps_the_old_output(file_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_set(make_set(), tmp_path / "out", file_format)
    before = content(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="out cannot be written: No space left on device"):
        export_set(make_set(1), tmp_path / "out", file_format, overwrite=True)

    assert content(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_rename_that_fails_brings_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_set(make_set(), tmp_path / "out", "dd-ranking")
    before, rename = content(tmp_path), Path.rename

    def refuses(self: Path, target: Any) -> Path:
        if Path(target).name == "out" and not self.name.endswith(".old"):
            raise OSError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuses)
    with pytest.raises(InputError, match="out cannot be written: Permission denied"):
        export_set(make_set(1), tmp_path / "out", "dd-ranking", overwrite=True)

    assert content(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(("name", "reason"), [("thesis.txt", "it holds 'thesis.txt'"), ("photo.png", "it has no index.json")])
def test_only_an_earlier_export_is_overwritten(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("precious")

    with pytest.raises(InputError, match=rf"mine is no earlier export of this format \({reason}\)"):
        export_set(make_set(), tmp_path / "mine", "image-folder", overwrite=True)

    assert content(tmp_path) == {f"mine/{name}": b"precious"}
