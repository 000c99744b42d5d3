from __future__ import annotations

from pathlib import Path

import pytest

from data.dataset_files import write_classes
from hmdc_ray.data.sources import prepare
from hmdc_ray.errors import InputError


def test_bad_sources(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken" / "cat").mkdir(parents=True)
    (tmp_path / "broken" / "cat" / "a.png").write_text("hello")
    (tmp_path / "vacant" / "cat").mkdir(parents=True)
    for source, expected in {
        "nowhere": "does not exist",
        "text.npz": "cannot be read as an .npz file",
        "empty": "no class folders",
        "broken": "a.png: image cannot be decoded",
        "vacant": "class 'cat' has no training images",
    }.items():
        with pytest.raises(InputError, match=expected):
            prepare(str(tmp_path / source), tmp_path / "out")
    (tmp_path / "my sets").mkdir()
    (tmp_path / "my sets" / "train.parquet").touch()
    for name in ("my sets", "my sets/train.parquet"):
        with pytest.raises(InputError, match=f"runs read them as they are, with --data '{tmp_path}/{name}'"):
            prepare(f"{tmp_path}/{name}", tmp_path / "out")
    with pytest.raises(InputError, match="did you mean 'cifar10'"):
        prepare("torchvision:cifar01", tmp_path / "out")


def test_out_is_not_written_over(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in")
    prepare(str(source), tmp_path / "out")
    (tmp_path / "out" / "old.parquet").touch()
    with pytest.raises(InputError, match="exists already"):
        prepare(str(source), tmp_path / "out")
    prepare(str(source), tmp_path / "out", overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train-00000-of-00001.parquet"]
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(InputError, match="nothing but Parquet files"):
        prepare(str(source), tmp_path / "out", overwrite=True)
    (source / "cat" / "broken.png").write_text("x")
    with pytest.raises(InputError, match=r"broken\.png"):
        prepare(str(source), tmp_path / "second")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    with pytest.raises(InputError, match="cannot write"):
        prepare(str(write_classes(tmp_path / "again")), source / "cat" / "0.PNG" / "out")
