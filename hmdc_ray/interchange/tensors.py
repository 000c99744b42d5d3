"""Any file of ``torch.save`` with images and labels: a tensor, a pair, a ``TensorDataset``, or a dict or list of tensors."""

from __future__ import annotations

from pathlib import Path

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
