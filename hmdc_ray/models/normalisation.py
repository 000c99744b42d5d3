"""How pixels are normalised, and the map of images from one normalisation to another.

Shapes: C channels.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from hmdc_ray.errors import InputError


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Images are ``(pixels - mean) / std``, with pixels on the scale [0, 1].

    Attributes:
        mean: mean of every channel, or one number for all of them.
        std: standard deviation, likewise; above 0.

    Raises:
        InputError: a number is not finite, a deviation is not above 0, or there are more of one
            than of the other.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        positive = all(0 < value < math.inf for value in self.std)
        if not self.mean or len(self.mean) != len(self.std) or not positive or not all(map(math.isfinite, self.mean)):
            raise InputError(f"{self}: must be finite, one mean and one std above 0 for each channel")

    def __str__(self) -> str:
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return f"mean {mean}, std {std}"

    @property
    def channels(self) -> int:
        """Number of channels with numbers of their own; 1 also where one number is that of all
        channels."""
        return len(self.mean)

    def require_channels(self, channels: int) -> None:
        """Require numbers for each of ``channels`` channels, or one for all of them.

        Raises:
            InputError: there are numbers for another number of channels.
        """
        if self.channels not in (1, channels):
            raise InputError(f"statistics are {self}: must be of {channels} channels, as the network takes")

    def is_close(self, other: Normalisation, tolerance: float) -> bool:
        """Whether no number differs by more than ``tolerance``, as a part of itself."""
        pairs = zip((*self.mean, *self.std), (*other.mean, *other.std), strict=True)
        return all(math.isclose(ours, theirs, rel_tol=tolerance) for ours, theirs in pairs)

    def to_json(self) -> str:
        """The numbers as JSON, from which they come back exactly."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Normalisation:
        """The inverse of :meth:`to_json`.

        Raises:
            InputError: the text is something else.
        """
        try:
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            raise InputError(
                f"statistics are {text!r}: must be JSON with 'mean' and 'std', a number for each channel"
            ) from error


def channel_map(images: Normalisation, wanted: Normalisation) -> tuple[Tensor, Tensor] | None:
    """Factor and shift, float64 (C, 1, 1), for ``images * factor + shift`` as wanted; None: they
    are already.

    Args:
        images: normalisation of the images; of one channel for grey images that are repeated.
        wanted: normalisation to reach, of as many channels; either of the two may have one.
    """
    mean, std, own_mean, own_std = (
        torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)
        for values in (images.mean, images.std, wanted.mean, wanted.std)
    )
    if torch.equal(*torch.broadcast_tensors(mean, own_mean)) and torch.equal(*torch.broadcast_tensors(std, own_std)):
        return None
    return std / own_std, (mean - own_mean) / own_std
