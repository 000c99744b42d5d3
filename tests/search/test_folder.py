"""A search's folder: claimed once, resumed only for the same search, and free as long as nothing
has begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmdc_ray.config.presets import preset
from hmdc_ray.errors import InputError
from hmdc_ray.search.folder import claimed
from hmdc_ray.search.settings import SearchSettings

SETTINGS = SearchSettings(space="smoke", trials=8)
BASE = preset("digits")


def start(path: Path) -> None:
    with claimed(path, BASE, SETTINGS, None, False) as folder:
        folder.remember()


def test_a_folder_is_free_until_a_search_has_begun(tmp_path: Path) -> None:
    with claimed(tmp_path / "search", BASE, SETTINGS, None, False):
        pass
    start(tmp_path / "search")
    with claimed(tmp_path / "search", BASE, SETTINGS, None, True):
        pass
    with (
        pytest.raises(InputError, match=r"already holds a search: use --resume"),
        claimed(tmp_path / "search", BASE, SETTINGS, None, False),
    ):
        pytest.fail("claimed twice")


def test_another_search_is_not_resumed(tmp_path: Path) -> None:
    start(tmp_path / "search")
    other = SearchSettings(space="smoke", trials=9)
    with (
        pytest.raises(InputError, match=r"--trials is 9, but the search in .* was started with 8"),
        claimed(tmp_path / "search", BASE, other, None, True),
    ):
        pytest.fail("resumed")
    seeded = BASE.model_copy(update={"seed": 1})
    with (
        pytest.raises(InputError, match=r"seed is 1, but the search in .* was started with 0"),
        claimed(tmp_path / "search", seeded, SETTINGS, None, True),
    ):
        pytest.fail("resumed")


def test_nothing_to_resume_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no search"), claimed(tmp_path / "none", BASE, SETTINGS, None, True):
        pytest.fail("resumed")
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"file/search cannot be made"),
        claimed(tmp_path / "file" / "search", BASE, SETTINGS, None, False),
    ):
        pytest.fail("claimed")
