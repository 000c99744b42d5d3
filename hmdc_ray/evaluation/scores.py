"""Scores of images apart from the effect of labels and augmentation (DD-Ranking, Li et al., arXiv
2505.13300).

All accuracies are fractions in [0, 1], and so are the scores; 1 is best.
"""

from __future__ import annotations

import math

from hmdc_ray.errors import InputError

WEIGHT = 0.5
"""DD-Ranking's weight of both scores."""


def label_robust_score(real: float, condensed: float, random: float) -> float:
    """Recovery of the whole data's accuracy and gain over random images, as one number.

    With HLR = real - condensed (hard-label recovery, the smaller the better) and IOR = condensed -
    random (improvement over random): alpha = weight IOR - (1 - weight) HLR, in [-1, 1], brought to
    [0, 1] by (e^alpha - e^-1) / (e - e^-1).

    Args:
        real: accuracy with the whole data set.
        condensed: accuracy with the condensed images, trained in the same way.
        random: accuracy with as many random real images, trained in the same way.

    Raises:
        InputError: a number is not a fraction in [0, 1].
    """
    _require_fractions(real=real, condensed=condensed, random=random)
    return _normalised(WEIGHT * (condensed - random) - (1 - WEIGHT) * (real - condensed))


def augmentation_robust_score(
    condensed_augmented: float, random_augmented: float, condensed_plain: float, random_plain: float
) -> float:
    """The improvement over random images with and without augmentation of the training images, as
    one number.

    beta = weight (condensed_augmented - random_augmented) + (1 - weight) (condensed_plain -
    random_plain), in [-1, 1], brought to [0, 1] as in :func:`label_robust_score`.

    Args:
        condensed_augmented: accuracy with the condensed images, augmented.
        random_augmented: accuracy with as many random real images, augmented.
        condensed_plain: accuracy with the condensed images without augmentation.
        random_plain: accuracy with the random real images without augmentation.

    Raises:
        InputError: a number is not a fraction in [0, 1].
    """
    _require_fractions(
        condensed_augmented=condensed_augmented,
        random_augmented=random_augmented,
        condensed_plain=condensed_plain,
        random_plain=random_plain,
    )
    return _normalised(
        WEIGHT * (condensed_augmented - random_augmented) + (1 - WEIGHT) * (condensed_plain - random_plain),
    )


def _normalised(value: float) -> float:
    return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))


def _require_fractions(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:  # also refuses NaN
            raise InputError(f"{name} is {value}: must be a fraction in [0, 1], not a percentage")
