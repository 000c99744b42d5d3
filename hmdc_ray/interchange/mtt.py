"""Files of MTT's released code (Cazenavette et al., CVPR 2022; mtt-distillation, distill.py).

``images_best.pt`` is a tensor (N, C, H, W), float32, normalised with the constants of its data set
and not clipped, and ``labels_best.pt`` a tensor of integers (N,); ``images_100.pt`` and so on
likewise. Sets that were condensed with ZCA whitening (the code's ``--zca``) look the same but live
in another space: they are outside of this format.
"""

from __future__ import annotations

from pathlib import Path

from hmdc_ray.interchange.declared import FileContents, ImportOptions
from hmdc_ray.interchange.labels import read_pair


def read(path: Path, stated: ImportOptions) -> FileContents:
    """The set in the file of images ``path``, or in the folder that holds ``images_best.pt``.

    Raises:
        InputError: not such files.
    """
    _, images, labels = read_pair(path, stated, "images_best.pt")
    return FileContents(images, labels, scale="normalised", formation=1, origin="not ZCA-whitened")
