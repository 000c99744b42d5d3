"""Points of a simplex from independent coordinates, so that a sampler that knows only boxes can
search one.

Stick breaking (Sethuraman, Statistica Sinica 1994; Connor and Mosimann, JASA 1969): of a stick of
length 1 break a part v_1, of the rest a part v_2, and so on; the last entry takes what is left.
With v_i ~ Beta(alpha_i, alpha_{i+1} + ... + alpha_n) the lengths are Dirichlet(alpha). Here v_i is
the quantile of that Beta distribution at a coordinate u_i: uniform coordinates give a Dirichlet
draw, and near coordinates near points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import beta


def dirichlet(coordinates: Sequence[float], concentration: Sequence[float] | float = 1.0) -> tuple[float, ...]:
    """The point of the simplex that belongs to the coordinates.

    Args:
        coordinates: n - 1 numbers in [0, 1]; independent uniform ones give a draw of
            Dirichlet(``concentration``).
        concentration: alpha of each of the n entries, or one for all, more than 0; 1 makes all
            points equally likely.

    Returns:
        n probabilities, which sum to 1 up to rounding.
    """
    count = len(coordinates) + 1
    alphas = np.broadcast_to(np.asarray(concentration, dtype=np.float64), (count,))
    assert (alphas > 0).all() and all(0 <= coordinate <= 1 for coordinate in coordinates), (concentration, coordinates)
    rests = alphas.sum() - np.cumsum(alphas)
    parts = beta.ppf(np.asarray(coordinates, dtype=np.float64), alphas[:-1], rests[:-1])
    left = np.cumprod(np.concatenate([[1.0], 1.0 - parts]))
    lengths = left * np.concatenate([parts, [1.0]])  # v_i times what the parts before have left
    return tuple((lengths / lengths.sum()).tolist())
