"""MNIST under protocol ``dc``: DC's code crops, scales and rotates MNIST's images by default, and
trains 1000 epochs."""

from __future__ import annotations

from hmdc_ray.config import EvaluationConfig
from hmdc_ray.config.statistics import KNOWN
from hmdc_ray.evaluation.protocol import recipe
from hmdc_ray.models.normalisation import Normalisation

TOLERANCE = 1e-4
"""Relative difference allowed between mean and std and MNIST's constants, which have four
digits."""


def with_mnist(config: EvaluationConfig, *spaces: Normalisation) -> EvaluationConfig:
    """The configuration with augmentation, if its protocol is ``dc``, it leaves augmentation open,
    and images are MNIST's.

    Args:
        config: configuration of the evaluation; its number of epochs stays.
        spaces: normalisations of the images; one with MNIST's constants, for grey or for each
            colour, marks them as MNIST's.
    """
    if config.protocol != "dc" or config.augmentation is not None or not any(map(_is_mnist, spaces)):
        return config
    return config.model_copy(update={"augmentation": True})


def mnist_notes(config: EvaluationConfig, *spaces: Normalisation) -> tuple[str, ...]:
    """A line for the user about the change that :func:`with_mnist` makes; none where the
    configuration stays as it is."""
    taken = with_mnist(config, *spaces)
    if taken is config:
        return ()
    return (
        f"MNIST by its statistics: protocol dc trains {recipe(taken).epochs} epochs with crop, scale, rotate "
        "(evaluation.augmentation=false: without them)",
    )


def _is_mnist(space: Normalisation) -> bool:
    mean, std = KNOWN["mnist"]
    return space.is_close(Normalisation(mean * space.channels, std * space.channels), TOLERANCE)
