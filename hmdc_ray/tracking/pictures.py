"""Pictures over the steps, in files with the names by which MLflow's pages find them.

MLflow's own ``log_image`` gives a picture another name at each try, so that one whose answer was
lost, or which a resumed run made again, would be there twice.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from hmdc_ray.tracking.records import Picture, TrackedRun, key

SUFFIXES = (".png", "+compressed.webp")
SMALL_SIDE = 256
LONGEST_NAME = 100


def picture(run: TrackedRun, name: str, step: int) -> Picture:
    """The record of a picture of the series ``name`` at a step, 0 or more: always the same for a
    run."""
    title = key(name).replace(":", "_")[:LONGEST_NAME]
    identifier = uuid.uuid5(uuid.UUID(run.key), f"{name}/{step}")
    stem = f"{title.replace('/', '~')}+step+{step}+timestamp+{run.time}+{identifier}"
    return Picture(name=title, step=step, stem=stem)


def picture_files(folder: Path, record: Picture) -> tuple[Path, Path]:
    """Where the picture waits in a folder: in full, and small."""
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
