"""Where 8-bit images in an array have their channels: a rule, and a refusal where two readings are possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hmdc_ray.errors import InputError

Layout = Literal["N x H x W", "N x C x H x W", "N x H x W x C"]

_CHANNELS = (1, 3)


def layout_of(shape: Sequence[int]) -> Layout | None:
    """The layout of an array of grey (1 channel) or colour (3 channels) images; None where it is no such array.

    Raises:
        InputError: channels may be in the second place and in the last.
    """
    if len(shape) == 3:
        return "N x H x W"
    if len(shape) != 4:
        return None
    second, last = shape[1] in _CHANNELS, shape[3] in _CHANNELS
    if second and last:
        raise InputError(
            f"images have shape {list(shape)}, which may be N x C x H x W or N x H x W x C: store them in another shape, "
            "N x H x W if they are grey"
        )
    if second or last:
        return "N x C x H x W" if second else "N x H x W x C"
    return None
