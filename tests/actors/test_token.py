"""Ray's token is made before Ray starts, and only its owner reads it."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from hmdc_ray.actors.token import protect_token
from hmdc_ray.errors import InputError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_made_for_its_owner_and_kept(home: Path) -> None:
    protect_token()
    token = home / ".ray" / "auth_token"
    text = token.read_text()
    assert mode(token) == 0o600 and len(bytes.fromhex(text)) == 32
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]
    protect_token()
    assert token.read_text() == text


@pytest.mark.parametrize("content", ["ab" * 32, ""])
def test_an_older_token_is_narrowed(content: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = home / "elsewhere" / "token"
    token.parent.mkdir()
    token.write_text(content)
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    protect_token()
    assert mode(token) == 0o600 and (token.read_text() == content if content else len(token.read_text()) == 64)
    assert not (home / ".ray").exists()


@pytest.mark.parametrize(("name", "value"), [("RAY_AUTH_TOKEN", "ab"), ("RAY_AUTH_MODE", "disabled")])
def test_nothing_is_made_where_none_is_needed(name: str, value: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    protect_token()
    assert list(home.iterdir()) == []


def test_what_cannot_be_made_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("x")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "file" / "token"))
    with pytest.raises(InputError, match=r"file/token cannot be kept for its owner alone .*: name another file"):
        protect_token()


def test_processes_that_start_at_once_agree_on_one_token(home: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=protect_token) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert [path.name for path in (home / ".ray").iterdir()] == ["auth_token"]
    assert len((home / ".ray" / "auth_token").read_text()) == 64
