"""The user's home folder, where caches and Ray's token lie; containers often run with a user who
has none."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from pathlib import Path

from hmdc_ray.errors import InputError

HOME_VARIABLE = "HOME"

_log = logging.getLogger(__name__)


def home() -> Path:
    """The home folder. Where there is none that can be written, HOME names one for temporary files
    from now on, for this process and those that it starts: libraries look there too.

    Raises:
        InputError: there is no folder for temporary files either, or that of this user is not the
            user's alone.
    """
    try:
        found = Path.home()
        problem = _problem(found)
    except RuntimeError:  # neither HOME nor an entry for the user
        problem = "there is no home folder (no HOME)"
    if problem is None:
        return found
    folder = _temporary_home()
    _log.warning("%s: caches and Ray's token are kept in %s", problem, folder)
    os.environ[HOME_VARIABLE] = str(folder)
    return folder


def _problem(folder: Path) -> str | None:
    """Why nothing can be kept there; None where something can, or is."""
    if os.access(folder, os.W_OK | os.X_OK) or any((folder / name).exists() for name in (".cache", ".ray")):
        return None
    return f"the home folder {str(folder)!r} {'cannot be written' if folder.is_dir() else 'does not exist'}"


def _temporary_home() -> Path:
    """A folder of this user alone, the same for all processes. In a place where everybody writes,
    it may be somebody else's."""
    try:
        folder = Path(tempfile.gettempdir()) / f"hmdc-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise InputError(
            f"there is no home folder, and none for temporary files ({error.strerror or error}): name a folder that can be "
            f"written in {HOME_VARIABLE}"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise InputError(f"{folder} is not a folder for this user alone: name one that can be written in {HOME_VARIABLE}")
    return folder
