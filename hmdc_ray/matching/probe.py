"""A linear probe: how much of the classes a linear classifier reads from features."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

REGULARISATION = tuple(10.0**power for power in range(-2, 6))
"""Strengths of the ridge penalty, of which the one with the least leave-one-out error is taken."""

CLASSIFIER_BYTES = 28
"""What fitting takes for each number of the features that it is fitted to: a few copies, in float64. (Measured, where an image
has more features than there are images; else it is a little more of less.)"""

Features = NDArray[np.floating]
Labels = NDArray[np.integer]


def linear_probe(fitted_ND: Features, fitted_labels_N: Labels, tried_MD: Features, tried_labels_M: Labels) -> float | None:
    """Part of images whose class a ridge classifier of their features finds, in [0, 1].

    Args:
        fitted_ND: features that the classifier is fitted to, one row an image; each column is standardised.
        fitted_labels_N: their classes, of which there are two or more.
        tried_MD: features that it is tried on.
        tried_labels_M: their classes.

    Returns:
        The part that is right; None where features are not finite, or all images are of one class.
    """
    if not (np.isfinite(fitted_ND).all() and np.isfinite(tried_MD).all()) or len(np.unique(fitted_labels_N)) < 2:
        return None
    # Here, because scikit-learn takes two seconds to import, which every worker would pay at its start.
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(REGULARISATION))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # singular matrices, of features that are constant
        classifier.fit(fitted_ND, fitted_labels_N)
        return float((classifier.predict(tried_MD) == tried_labels_M).mean())
