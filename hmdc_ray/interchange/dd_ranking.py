"""A folder for DD-Ranking (NUS-HPC-AI-Lab/DD-Ranking, ddranking/metrics/hard_label.py):
``images.pt`` and ``labels.pt``.

Its evaluator takes a tensor of training images (N, C, H, W), normalised, and hard labels (N,), by
default sorted by class with the same number in each. So a packed set is written decoded.
``metadata.json`` beside is ours; DD-Ranking does not look at it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hmdc_ray.condensed import CondensedSet, Metadata
from hmdc_ray.data.safe import read_text
from hmdc_ray.interchange import tensors
from hmdc_ray.interchange.declared import FileContents, ImportOptions
from hmdc_ray.interchange.labels import read_pair

METADATA_FILE = "metadata.json"


def read(path: Path, stated: ImportOptions) -> FileContents:
    """The set in such a folder, or in a file of images with one of labels beside it.

    Raises:
        InputError: not such files, or soft labels.
    """
    file, images, labels = read_pair(path, stated, "images.pt")
    metadata = file.with_name(METADATA_FILE)
    return FileContents(
        images,
        labels,
        scale="normalised",
        formation=1,
        metadata=Metadata.parse(read_text(metadata)) if metadata.is_file() else None,
        origin="not ZCA-whitened",
    )


def write(folder: Path, condensed: CondensedSet) -> None:
    """Write the decoded images bit for bit, in the order of their classes, and within a class in
    the order of the set.

    Raises:
        OSError: the files cannot be written.
    """
    images, labels = condensed.decoded()
    order = labels.argsort(stable=True)
    decoded = replace(condensed, images=images[order], labels=labels[order], formation=1, decoding="aligned")
    tensors.save(folder / "images.pt", decoded.images)
    tensors.save(folder / "labels.pt", decoded.labels)
    (folder / METADATA_FILE).write_text(Metadata.of(decoded).model_dump_json(indent=2), encoding="utf-8")
