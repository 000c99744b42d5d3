"""The built-in data set: scikit-learn's handwritten digits, which need no file and no network."""

from __future__ import annotations

import numpy as np
from PIL import Image

from hmdc_ray.config import DataConfig
from hmdc_ray.data.decode import PixelRule, to_pixels
from hmdc_ray.data.labels import select_classes
from hmdc_ray.data.schema import LabelledImages
from hmdc_ray.data.splits import assign_splits

NAME = "digits"
"""Value of ``data.source`` for this data set."""

_SIZE = (16, 16)
_TEST_FRACTION = 0.3
_VALIDATION_FRACTION = 1 / 7  # of what the test split leaves: a tenth of all


def read_digits(config: DataConfig) -> LabelledImages:
    """1,797 grey digits, 8-bit, enlarged (bilinear) from 8x8 to ``config.image_size``, by default
    16x16.

    60 % of each class train, 10 % validate and 30 % test, always the same images; the fractions in
    ``config`` do not apply.
    """
    # Here, because scikit-learn takes two seconds to import, and the decoded digits are in the
    # cache after the first time.
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = [Image.fromarray(np.rint(digits.images[row] * (255 / 16)).astype(np.uint8)) for row in range(len(digits.images))]
    rule = PixelRule.following(images[0], config.image_size or _SIZE, config.channels)
    names = tuple(str(name) for name in digits.target_names)
    labels, names, kept = select_classes(digits.target.astype(np.int64), names, config.classes)
    labels = labels[kept]
    splits = assign_splits(labels, np.zeros(len(labels), np.uint8), _TEST_FRACTION, _VALIDATION_FRACTION)
    chosen = (to_pixels(images[row], rule) for row in np.flatnonzero(kept))
    return LabelledImages(NAME, names, labels, splits, chosen)
