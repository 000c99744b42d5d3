"""A whole condensed set as NumPy's ``.npz``: arrays ``images``, ``labels``, and ``metadata``, JSON
text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmdc_ray.condensed import CondensedSet, Metadata
from hmdc_ray.data.safe import load_npz
from hmdc_ray.interchange.containers import read_container
from hmdc_ray.interchange.declared import FileContents, ImportOptions


def read(path: Path, stated: ImportOptions) -> FileContents:
    """Arrays of images and labels by their names, and the metadata of an export where it is in the
    file.

    Raises:
        InputError: not such a file.
    """
    arrays = load_npz(path)
    return read_container(arrays, path, str(arrays["metadata"]) if "metadata" in arrays else None)


def write(path: Path, condensed: CondensedSet) -> None:
    """Write images and labels bit for bit, and everything else as metadata.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("wb") as file:  # given a path, NumPy may change its ending
        np.savez(
            file,
            images=condensed.images.numpy(),
            labels=condensed.labels.numpy(),
            metadata=np.array(Metadata.of(condensed).model_dump_json()),
        )
