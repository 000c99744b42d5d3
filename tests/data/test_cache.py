from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data.dataset_files import random_images, structs, write
from hmdc_ray.config import DataConfig
from hmdc_ray.data.cache import cache_folder
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.errors import InputError


def decoded_files(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.arrow"))


def images_decoded(config: DataConfig) -> int:
    """How many images the call decoded itself: 0 when it found them decoded."""
    done = [0]
    open_dataset(config, lambda images, total: done.append(images))
    return done[-1]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "data.parquet", structs(random_images(40, 16, 16)), [0, 1] * 20)


def test_decodes_once_and_again_when_something_changes(tmp_path: Path, source: Path) -> None:
    config = DataConfig(source=str(source), cache=str(tmp_path / "cache"))
    assert images_decoded(config) == 40
    assert images_decoded(config) == 0
    assert images_decoded(config.model_copy(update={"image_size": (8, 8)})) == 40
    os.utime(source, ns=(1, 1))
    assert images_decoded(config) == 40
    assert len(decoded_files(tmp_path / "cache")) == 3


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_truncated_file_is_decoded_again(tmp_path: Path, source: Path, keep: float) -> None:
    config = DataConfig(source=str(source), cache=str(tmp_path / "cache"))
    fingerprint = open_dataset(config).info.fingerprint
    (path,) = decoded_files(tmp_path / "cache")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    assert images_decoded(config) == 40
    assert open_dataset(config).info.fingerprint == fingerprint
    assert path.read_bytes() == content


def test_what_a_killed_process_left_is_replaced(tmp_path: Path, source: Path) -> None:
    config = DataConfig(source=str(source), cache=str(tmp_path / "cache"))
    open_dataset(config)
    (path,) = decoded_files(tmp_path / "cache")
    path.rename(path.with_suffix(".partial"))
    assert images_decoded(config) == 40
    assert {found.suffix for found in (tmp_path / "cache").iterdir()} <= {".arrow", ".lock"}


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Make the system refuse files longer than ``size`` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_leaves_nothing_behind(tmp_path: Path, source: Path) -> None:
    config = DataConfig(source=str(source), cache=str(tmp_path / "cache"))
    with files_limited_to(5000), pytest.raises(InputError, match=r"data\.cache .*cannot write the decoded images"):
        open_dataset(config)
    assert {found.suffix for found in (tmp_path / "cache").iterdir()} <= {".lock"}
    assert images_decoded(config) == 40


def test_cache_folder_that_cannot_be_made(tmp_path: Path, source: Path) -> None:
    with pytest.raises(InputError, match=r"data\.cache .*choose a folder that can be written"):
        open_dataset(DataConfig(source=str(source), cache=str(source / "inside-a-file")))


def test_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hmdc_ray"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "hmdc_ray"
