"""Small folders of images for the tests of hmdc_ray.data."""

from __future__ import annotations

from pathlib import Path

from data.dataset_files import encode, random_images


def write_classes(folder: Path, count: int = 3, seed: int = 0, names: tuple[str, ...] = ("cat", "ant")) -> Path:
    """A folder per class with ``count`` images of 4x5 pixels, the first at its top and the others deeper."""
    for label, name in enumerate(names):
        (folder / name / "deeper").mkdir(parents=True)
        for row, image in enumerate(random_images(count, 4, 5, 3, seed=seed + label)):
            (folder / name / ("deeper" if row else "") / f"{row}.PNG").write_bytes(encode(image))
    return folder
