"""Any file of ``torch.save`` with images and labels: a tensor, a pair, a ``TensorDataset``, or a
dict or list of tensors.

An export is a dict with ``images``, ``labels`` and ``metadata``, JSON text.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from hmdc_ray.condensed import CondensedSet, Metadata
from hmdc_ray.data.safe import load_torch
from hmdc_ray.interchange.containers import read_container
from hmdc_ray.interchange.declared import FileContents, ImportOptions


def read(path: Path, stated: ImportOptions) -> FileContents:
    """Images, with labels and the metadata of an export where they are in the file.

    Raises:
        InputError: not such a file.
    """
    content = load_torch(path)
    text = content.get("metadata") if isinstance(content, dict) else None
    return read_container(content, path, text if isinstance(text, str) else None)


def write(path: Path, condensed: CondensedSet) -> None:
    """Write images and labels bit for bit, and everything else as metadata.

    Raises:
        OSError: the file cannot be written.
    """
    metadata = Metadata.of(condensed).model_dump_json()
    save(path, {"images": condensed.images.clone(), "labels": condensed.labels.clone(), "metadata": metadata})


def save(path: Path, content: Any) -> None:
    """``torch.save``, but a full disk is an error of the operating system, as of any other writer.

    Raises:
        OSError: the file cannot be written.
    """
    file = io.BytesIO()
    torch.save(content, file)
    path.write_bytes(file.getvalue())
