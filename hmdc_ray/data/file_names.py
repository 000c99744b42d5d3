"""Names of files and folders that are not valid text, as archives of other systems bring them."""

from __future__ import annotations

import os
from pathlib import Path

from hmdc_ray.errors import InputError


def require_text(path: Path) -> None:
    """Refuse a path whose bytes are not UTF-8: it could be neither printed nor stored.

    Raises:
        InputError: the path is not UTF-8; it is shown with a question mark for each bad byte.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        readable = os.fsencode(path).decode(errors="replace").replace("\ufffd", "?")
        raise InputError(f"{readable}: the name is not UTF-8, rename it (convmv does so for whole folders)") from error
