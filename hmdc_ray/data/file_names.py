"""Names of files and folders that are no text: archives of other systems bring them."""

from __future__ import annotations

import os
from pathlib import Path

from hmdc_ray.errors import InputError


def require_text(path: Path) -> None:
    """Refuse a path whose bytes are not UTF-8: it could be neither printed nor stored.

    Raises:
        InputError: shows the path with a question mark for each byte that is none.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        readable = os.fsencode(path).decode(errors="replace").replace("\ufffd", "?")
        raise InputError(f"{readable}: the name is not UTF-8, rename it (convmv does so for whole folders)") from error
