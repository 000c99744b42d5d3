"""Pictures over the steps, in files with the names by which MLflow's pages find them.

MLflow's own ``log_image`` gives a picture another name at each try, so that one whose answer was lost would be there twice.
"""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from hmdc_ray.tracking.records import Picture, key

PICTURES = "images"
"""The folder among a run's artifacts."""

SUFFIXES = (".png", "+compressed.webp")
SMALL_SIDE = 256
LONGEST_NAME = 100
_NAMES = uuid.UUID("7f2a6e0c-6f0f-4d9b-8a43-5d2f6c1b9e57")


def title(name: str) -> str:
    """The name of a series as MLflow can have it."""
    return key(name).replace(":", "_")[:LONGEST_NAME]


def series(file: str) -> tuple[str, int] | None:
    """Title and step of the picture that a file in MLflow holds, by its name; None for other files."""
    found = re.match(r"(.+)\+step\+(\d+)\+timestamp\+", file)
    return (found[1].replace("~", "/"), int(found[2])) if found else None


def picture(run_id: str, name: str, step: int, time: int) -> Picture:
    """The record of a picture.

    Args:
        run_id: MLflow's id of the run.
        name: name of the series.
        step: 0 or more.
        time: milliseconds since 1970.
    """
    identifier = uuid.uuid5(_NAMES, f"{run_id}/{name}/{step}")
    stem = f"{title(name).replace('/', '~')}+step+{step}+timestamp+{time}+{identifier}"
    return Picture(name=title(name), step=step, stem=stem)


def picture_files(folder: Path, record: Picture) -> tuple[Path, Path]:
    """Where the picture waits in the journal's folder: in full, and small."""
    full, small = (folder / f"{record.stem}{suffix}" for suffix in SUFFIXES)
    return full, small


def write_picture(folder: Path, record: Picture, array_HWC: npt.NDArray[np.uint8]) -> None:
    """Write both files of a picture (H, W, 3) or (H, W, 1), 0 to 255.

    Raises:
        OSError: a file cannot be written.
    """
    assert array_HWC.dtype == np.uint8 and array_HWC.ndim == 3, (array_HWC.dtype, array_HWC.shape)
    image = Image.fromarray(array_HWC if array_HWC.shape[2] == 3 else array_HWC[:, :, 0])
    full, small = picture_files(folder, record)
    image.save(full, compress_level=1)
    image.thumbnail((SMALL_SIDE, SMALL_SIDE))
    image.save(small, method=0)
