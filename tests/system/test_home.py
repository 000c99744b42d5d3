"""A user without a home folder: what is kept there lies in one for temporary files, which is the
user's alone."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hmdc_ray.actors.token import protect_token, token_path
from hmdc_ray.data.cache import cache_folder
from hmdc_ray.errors import InputError
from hmdc_ray.system.home import home

ROOT = Path(__file__).parents[2]
DRY_RUN = """
import pwd, sys
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
sys.argv = ["hmdc", "condense", "digits", "--dry-run"]
from hmdc_ray.cli.main import main
main()
"""


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whom nobody knows; the folder for temporary files."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "XDG_CACHE_HOME", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_of_the_user_s_own_takes_its_place(homeless: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = homeless / f"hmdc-{os.getuid()}"
    assert home() == own and stat.S_IMODE(own.stat().st_mode) == 0o700
    assert os.environ["HOME"] == str(own)  # for libraries, and for the processes of Ray
    assert f"there is no home folder (no HOME): caches and Ray's token are kept in {own}" in caplog.text
    assert home() == own and len(caplog.messages) == 1
    assert cache_folder() == own / ".cache" / "hmdc_ray"
    protect_token()
    assert token_path() == own / ".ray" / "auth_token" and token_path().exists()


def test_a_home_that_is_not_there_is_none(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    assert home() == homeless / f"hmdc-{os.getuid()}"


def test_a_home_that_holds_what_is_needed_stays(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (homeless / "me" / ".cache").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(homeless / "me"))
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert home() == homeless / "me"


def test_a_folder_that_others_may_read_is_refused(homeless: Path) -> None:
    (homeless / f"hmdc-{os.getuid()}").mkdir()
    (homeless / f"hmdc-{os.getuid()}").chmod(0o755)
    with pytest.raises(InputError, match=r"is not a folder for this user alone: name one that can be written in HOME"):
        home()


def test_a_link_planted_there_is_refused(homeless: Path) -> None:
    (homeless / "theirs").mkdir(mode=0o700)
    (homeless / f"hmdc-{os.getuid()}").symlink_to("theirs")
    with pytest.raises(InputError, match="is not a folder for this user alone"):
        home()


def test_without_any_folder_the_variable_is_named(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(homeless / "not" / "there"))
    with pytest.raises(InputError, match=r"none for temporary files \(.*\): name a folder that can be written in HOME"):
        home()


def test_a_user_without_home_and_name_plans_a_run(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "LC_ALL": "C"}
    command = [sys.executable, "-c", DRY_RUN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "10: 0, 1, 2" in done.stdout and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [f"hmdc-{os.getuid()}"]
