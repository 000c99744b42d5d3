"""Any file of ``torch.save`` with images and labels: a tensor, a pair, or a dict with ``images`` and ``labels``."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from hmdc_ray.condensed import Metadata
from hmdc_ray.data.safe import load_torch, plain_tensor
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.stated import Found, Stated


def read(path: Path, stated: Stated) -> Found:
    """Images, with labels and the metadata of an export where they are in the file.

    Raises:
        InputError: not such a file.
    """
    content = load_torch(path)
    if isinstance(content, Tensor):
        content = {"images": content}
    elif isinstance(content, list | tuple) and len(content) == 2:
        content = dict(zip(("images", "labels"), content, strict=True))
    if not isinstance(content, dict) or "images" not in content:
        raise InputError(
            f"{path} holds neither a tensor of images, nor [images, labels], nor a dict with 'images' and 'labels'"
        )
    labels, text = content.get("labels"), content.get("metadata")
    return Found(
        plain_tensor(content["images"], path, "images"),
        None if labels is None else plain_tensor(labels, path, "labels"),
        metadata=Metadata.parse(text) if isinstance(text, str) else None,
    )
