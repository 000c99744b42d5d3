"""Ray's authentication token: whoever reads it can run code in the cluster, so only its owner
may."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray import _raylet
from ray.exceptions import AuthenticationError

from hmdc_ray.errors import InputError
from hmdc_ray.system.home import home

_ray_core: Any = _raylet  # without types

TOKEN_BYTES = 32
MODE_VARIABLE = "RAY_AUTH_MODE"


def protect_token() -> None:
    """Make the token before Ray does, which would let every user of the machine read it; restrict
    an older one to its owner.

    To be called before a local Ray is started. Nothing happens where the environment holds the
    token itself (``RAY_AUTH_TOKEN``) or switches it off (``RAY_AUTH_MODE=disabled``).

    Raises:
        InputError: the file cannot be made or restricted, or belongs to somebody else.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or token_mode() not in (None, "token"):
        return
    path = token_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(path)
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise InputError(
            f"{path} cannot be kept for its owner alone ({error.strerror}): name another file in RAY_AUTH_TOKEN_PATH"
        ) from error


def token_path() -> Path:
    """The file in which Ray looks for the token."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named).expanduser() if named else home() / ".ray" / "auth_token"


def token_place() -> str:
    """The variable or file that gives the token to Ray, for messages."""
    return "RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else str(token_path())


def known_token() -> str:
    """The token as Ray reads it; empty where there is none."""
    loader = _ray_core.AuthenticationTokenLoader.instance()
    loader.reset_cache()
    try:
        token: str = loader.get_raw_token(ignore_auth_mode=True)
    except AuthenticationError:  # a file that is named and missing
        return ""
    return token


def token_mode() -> str | None:
    """Value of RAY_AUTH_MODE, ``token`` or ``disabled``; None where it is not set, which lets Ray
    choose."""
    return os.environ.get(MODE_VARIABLE, "").lower() or None


def send_token() -> None:
    """Let this process send the token with all its calls to Ray."""
    _set_mode("token")


@contextmanager
def token_mode_kept() -> Iterator[None]:
    """At the end, restore the mode that the environment had before Ray, or :func:`send_token`,
    changed it."""
    before = os.environ.get(MODE_VARIABLE)
    try:
        yield
    finally:
        if os.environ.get(MODE_VARIABLE) != before:
            _set_mode(before)


def _set_mode(mode: str | None) -> None:
    if mode is None:
        os.environ.pop(MODE_VARIABLE, None)
    else:
        os.environ[MODE_VARIABLE] = mode
    _ray_core.Config.initialize("")  # Ray read the environment earlier


def _make(path: Path) -> None:
    """Write a new token where there is none; of several processes at once one makes it, and none
    reads a partial file."""
    if path.exists() and path.stat().st_size:
        return
    whole = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(TOKEN_BYTES))
        if path.exists() and not path.stat().st_size:
            whole.replace(path)  # an empty file is no token
        else:
            with suppress(FileExistsError):  # another process was faster
                path.hardlink_to(whole)
    finally:
        whole.unlink(missing_ok=True)
