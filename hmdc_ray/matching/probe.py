"""A linear probe: how well a linear classifier tells the classes from features.

Shapes: N images that it is fitted to, M that it is tested on, D numbers of an image's features.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

REGULARISATION = tuple(10.0**power for power in range(-2, 6))
"""Strengths of the ridge penalty, of which the one with the least leave-one-out error is taken."""

CLASSIFIER_BYTES = 28
"""Bytes that fitting takes for each number of the features that it is fitted to: a few copies, in
float64. (Measured with more features per image than images; with fewer features each takes a little
more, and the total is less.)"""

Features = NDArray[np.floating]
Labels = NDArray[np.integer]


def linear_probe(fitted_ND: Features, fitted_labels_N: Labels, tested_MD: Features, tested_labels_M: Labels) -> float | None:
    """Accuracy of a ridge classifier of features, in [0, 1].

    Args:
        fitted_ND: features that the classifier is fitted to, one row per image; each column is
            standardised.
        fitted_labels_N: classes of the images that it is fitted to.
        tested_MD: features that it is tested on.
        tested_labels_M: classes of the images that it is tested on.

    Returns:
        The accuracy on the images tested; None where features are not finite, or all images fitted
        are of one class.
    """
    if not (np.isfinite(fitted_ND).all() and np.isfinite(tested_MD).all()) or len(np.unique(fitted_labels_N)) < 2:
        return None
    # Here, because scikit-learn takes two seconds to import, which every worker would pay at its
    # start.
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(REGULARISATION))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # singular matrices, of features that are constant
        classifier.fit(fitted_ND, fitted_labels_N)
        return float((classifier.predict(tested_MD) == tested_labels_M).mean())
