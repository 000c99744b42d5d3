"""Ray's authentication token, which lets whoever reads it run code in the cluster: for its owner's eyes alone."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from hmdc_ray.errors import InputError

TOKEN_BYTES = 32


def protect_token() -> None:
    """Make the token before Ray does, who would let every user of the machine read it; narrow an older one to its owner.

    To be called before a local Ray is started. Nothing happens where the environment holds the token itself
    (``RAY_AUTH_TOKEN``) or switches it off (``RAY_AUTH_MODE=disabled``).

    Raises:
        InputError: the file cannot be made or narrowed; it belongs to somebody else.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(path)
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise InputError(
            f"{path} cannot be kept for its owner alone ({error.strerror}): name another file in RAY_AUTH_TOKEN_PATH"
        ) from error


def _make(path: Path) -> None:
    """A new token where there is none; of several processes that come here at once one makes it, and none reads a part."""
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
