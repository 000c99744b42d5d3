"""Files of DC's released code (Zhao et al., "Dataset Condensation with Gradient Matching", arXiv
2006.05929, main.py).

A dict whose ``data`` lists pairs of images (N, C, H, W), float32, normalised with the constants of
its data set and not clipped, and labels (N,), beside the authors' accuracies. DSA and DM write the
same. The pairs are experiments, or, in files of some successors, later iterations of one.
"""

from __future__ import annotations

from pathlib import Path

from hmdc_ray.data.safe import load_torch, plain_tensor
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import FileContents, ImportOptions


def read(path: Path, stated: ImportOptions) -> FileContents:
    """One pair; the last one unless the user states a snapshot.

    Raises:
        InputError: not such a file, or no such snapshot.
    """
    content = load_torch(path)
    snapshots = content.get("data") if isinstance(content, dict) else None
    if not isinstance(snapshots, list) or not snapshots:
        raise InputError(f"{path} has no list 'data' of [images, labels], as DC's code saves")
    count, snapshot = len(snapshots), -1 if stated.snapshot is None else stated.snapshot
    if not -count <= snapshot < count:
        raise InputError(f"{path}: --snapshot is {snapshot}, must be {-count} to {count - 1}")
    pair = snapshots[snapshot]
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise InputError(f"{path}, snapshot {snapshot}: is not a pair [images, labels]")
    images, labels = (plain_tensor(part, path, what) for part, what in zip(pair, ("images", "labels"), strict=True))
    origin = f"snapshot {snapshot % count} of {count}, counted from 0"
    return FileContents(images, labels, scale="normalised", formation=1, origin=origin)
