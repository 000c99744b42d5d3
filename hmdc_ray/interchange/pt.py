"""A whole condensed set as one file of ``torch.save``: a dict with ``images``, ``labels``, and ``metadata``, JSON text.

It is read as :mod:`hmdc_ray.interchange.tensors` reads any such file.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from hmdc_ray.condensed import CondensedSet, Metadata


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
