"""Files of IDC's released code (Kim et al., ICML 2022; snu-mllab/Efficient-Dataset-Condensation,
condense.py).

``data.pt`` is a list of images (N, C, H, W), float32, packed, in pixel scale and, after the last
steps, a little outside of 0 to 1; and labels (N,). The factor f is not in it, but in ``args.txt``,
JSON that the code writes into the same folder. The grid of tiles is the one used here. That code
enlarges tiles with corners not aligned, this package with corners aligned; so a set of that code
says that it is decoded as there, which also fills up images that f does not divide with grey.
"""

from __future__ import annotations

import json
from pathlib import Path

from hmdc_ray.data.packing import Decoding
from hmdc_ray.data.safe import load_torch, plain_tensor, read_text
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import FileContents, ImportOptions


def read(path: Path, stated: ImportOptions) -> FileContents:
    """The set, with f from ``args.txt`` where it lies beside.

    Raises:
        InputError: not such a file, f is nowhere stated, or the images were decoded in another way
            than a grid of f x f; f does not divide images that are not square, which that code does
            not cut into a grid.
    """
    content = load_torch(path)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise InputError(f"{path} is not a list [images, labels], as IDC's code saves")
    images, labels = (plain_tensor(part, path, what) for part, what in zip(content, ("images", "labels"), strict=True))
    arguments = path.with_name("args.txt")
    formation = _factor(arguments) if arguments.is_file() else None
    factor = formation or stated.formation
    if factor is None:
        raise InputError(f"{path} does not say its factor f, and there is no args.txt beside it: give --formation")
    height, width = images.shape[-2:] if images.ndim == 4 else (0, 0)
    origin = "tiles are enlarged with corners not aligned, as IDC's code does" if factor > 1 else ""
    if height % factor == width % factor == 0:
        decoding: Decoding = "idc" if factor > 1 else "aligned"
        return FileContents(images, labels, scale="pixel", formation=formation, decoding=decoding, origin=origin)
    if height != width:
        raise InputError(
            f"{path}: f is {factor}, which does not divide the image size {height}x{width}: IDC's code cuts such images "
            "only if they are square"
        )
    whole = -(-width // factor) * factor
    origin = f"filled up with grey from {width} to {whole} pixels before they are cut; {origin}"
    return FileContents(images, labels, scale="pixel", formation=formation, decoding="idc", origin=origin)


def _factor(path: Path) -> int:
    try:
        arguments = json.loads(read_text(path))
        factor, decoding = arguments["factor"], arguments["decode_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} has no 'factor' and 'decode_type', as IDC's code writes") from error
    if not isinstance(factor, int) or (decoding != "single" and factor > 1):
        raise InputError(
            f"{path}: factor is {factor!r} and decode_type {decoding!r}, only a whole number and 'single' are read"
        )
    return max(1, factor)
