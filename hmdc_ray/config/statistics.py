"""Mean and standard deviation of data sets, as a configuration and the command line name them."""

from __future__ import annotations

import math

from hmdc_ray.errors import closest

OWN = "own"
"""In place of a name: the statistics of the training split itself."""

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel, of pixels from 0 to 1."""

KNOWN: dict[str, Statistics] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashionmnist": ((0.2861,), (0.3530,)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""The constants of the code of Zhao et al., "Dataset Condensation with Gradient Matching",
utils.py, get_dataset, and those that torchvision's networks were trained with (``imagenet``). Those
of CIFAR's deviations are means of the images' own deviations, smaller than the deviation over all
pixels."""


def parse_statistics(text: str) -> Statistics:
    """Read a name of :data:`KNOWN`, in any case, or ``MEAN,..:STD,..`` with a number for each
    channel, of pixels from 0 to 1.

    Raises:
        ValueError: neither of them, or numbers that cannot be; says what is wrong with the value.
    """
    if text.lower() in KNOWN:
        return KNOWN[text.lower()]
    if ":" not in text:
        hint = closest(text, KNOWN)
        raise ValueError(f"{text!r}, which is not known: {hint}{' Or' if hint.endswith('?') else '; or'} give MEAN,..:STD,..")
    try:
        mean, std = (tuple(float(number) for number in part.split(",")) for part in text.split(":"))
    except ValueError:
        raise ValueError(f"{text!r}, must be numbers MEAN,..:STD,.., such as 0.1307:0.3081") from None
    if len(mean) != len(std):
        raise ValueError(f"{text!r}: {len(mean)} means, but {len(std)} deviations; must be one each a channel")
    if not all(map(math.isfinite, mean)) or not all(0 < value < math.inf for value in std):
        raise ValueError(f"{text!r}, must be finite, the deviations above 0")
    if not all(0 <= value <= 1 for value in mean):
        raise ValueError(f"{text!r}, must be of pixels from 0 to 1, with means from 0 to 1; divide those of 0 to 255 by 255")
    return mean, std
