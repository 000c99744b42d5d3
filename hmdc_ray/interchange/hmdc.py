"""Files of HMDC's released code (Moon et al., arXiv 2409.14538; KHU-AGI/HMDC, method/dc_base.py,
``_save_img``).

A dict with ``synthetic_images`` (K, I, C, H, W), float32, normalised, packed; ``factor``; ``init``,
and counters. The factor counts only where ``init`` contains "aug". There are no labels: row k is
class k. The code normalises CIFAR-100 with CIFAR-10's constants.
"""

from __future__ import annotations

from pathlib import Path

import torch

from hmdc_ray.data.safe import load_torch, plain_tensor
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import FileContents, ImportOptions


def read(path: Path, stated: ImportOptions) -> FileContents:
    """The set, classes one after the other.

    Raises:
        InputError: not such a file.
    """
    content = load_torch(path)
    if not isinstance(content, dict) or not {"synthetic_images", "factor", "init"} <= content.keys():
        raise InputError(f"{path} is not a dict with 'synthetic_images', 'factor' and 'init', as HMDC's code saves")
    images_KICHW = plain_tensor(content["synthetic_images"], path, "synthetic_images")
    if images_KICHW.ndim != 5:
        raise InputError(
            f"{path}: synthetic_images have shape {list(images_KICHW.shape)}, must be classes x images x C x H x W"
        )
    factor, init = content["factor"], content["init"]
    if not isinstance(factor, int) or factor < 1 or not isinstance(init, str):
        raise InputError(f"{path}: factor is {factor!r} and init {init!r}, must be a whole number from 1 and a text")
    classes, ipc = images_KICHW.shape[:2]
    return FileContents(
        images_KICHW.flatten(0, 1),
        torch.arange(classes).repeat_interleave(ipc),
        scale="normalised",
        formation=factor if "aug" in init else 1,
        classes=classes,
        origin="labels by position",
    )
