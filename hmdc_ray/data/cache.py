"""Where decoded data sets are kept on a node, and the rule that only one process decodes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from hmdc_ray.config import DataConfig
from hmdc_ray.data.arrow_file import VERSION, DecodedFile, Progress, open_decoded, write_decoded
from hmdc_ray.data.files import SourceFile
from hmdc_ray.data.schema import LabelledImages
from hmdc_ray.errors import InputError
from hmdc_ray.system.home import home
from hmdc_ray.system.locks import locked

_DECODING_FIELDS = {
    *("image_column", "label_column", "split_column", "classes", "image_size", "channels"),
    *("validation_fraction", "test_fraction"),
}


def cache_folder(configured: str | None = None) -> Path:
    """The folder ``configured``, else hmdc_ray in the user's cache folder ($XDG_CACHE_HOME, or
    ~/.cache)."""
    if configured is not None:
        return Path(configured).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "hmdc_ray"


def cache_path(config: DataConfig, files: tuple[SourceFile, ...]) -> Path:
    """Path of the decoded file: another one when a source file, a field that decoding depends on,
    or the layout changes."""
    stats = [(str(file.path), file.split, file.path.stat().st_size, file.path.stat().st_mtime_ns) for file in files]
    fields = config.model_dump(mode="json", include=_DECODING_FIELDS)
    key = json.dumps([VERSION, config.source if not files else "files", stats, fields], sort_keys=True)
    return cache_folder(config.cache) / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.arrow"


def open_or_decode(
    path: Path, read: Callable[[], LabelledImages], progress: Progress | None, check: Callable[[], None]
) -> DecodedFile:
    """Open the decoded file; when it is missing or broken, decode it, once however many processes
    ask.

    Args:
        path: path of the decoded file.
        read: function that returns the data set to decode.
        progress: callback that gets (images done, images in all), if this process decodes.
        check: callback run several times a second while another process decodes; may raise to stop
            waiting.

    Raises:
        InputError: bad images, or a cache folder that cannot be written or is full.
    """
    decoded = open_decoded(path)
    if decoded is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(path.with_suffix(".lock"), "decodes the data", check):
                decoded = open_decoded(path) or _decode(path, read(), progress)
        except OSError as error:
            raise InputError(
                f"data.cache {str(path.parent)!r}: cannot write the decoded images ({error});"
                " choose a folder that can be written and has room, there or in XDG_CACHE_HOME"
            ) from error
    return decoded


def _decode(path: Path, source: LabelledImages, progress: Progress | None) -> DecodedFile:
    partial = path.with_suffix(".partial")  # one name for all, held by the lock: what a killed process left is overwritten
    try:
        write_decoded(partial, source, progress)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    decoded = open_decoded(path)
    assert decoded is not None, f"{path} was just written and cannot be read"
    return decoded
