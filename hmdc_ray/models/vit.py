"""Small vision transformers (Dosovitskiy et al., arXiv 2010.11929) of timm's form."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hmdc_ray.errors import InputError
from hmdc_ray.models.layers import Width
from hmdc_ray.models.network import Architecture, TapSpec
from hmdc_ray.models.registry import register
from hmdc_ray.models.shape import ImageShape
from hmdc_ray.models.taps import evenly_spaced
from hmdc_ray.models.transformer import VisionTransformer

_LARGE = 28


@register("vit", "vision transformer; unset options follow the image size; taps: the token sequence of every block")
def vit(
    shape: ImageShape,
    classes: int,
    *,
    patch_size: Annotated[int, Field(ge=1, le=64)] = 4,
    width: Width | None = None,
    depth: Annotated[int, Field(ge=1, le=64)] | None = None,
    heads: Annotated[int, Field(ge=1, le=64)] | None = None,
    taps: Annotated[int, Field(ge=1, le=64)] | None = None,
) -> Architecture:
    """Build a vision transformer with a class token, a learned position embedding, and no dropout.

    Args:
        shape: images whose sides are multiples of ``patch_size``.
        classes: number of logits.
        patch_size: side of a patch in pixels.
        width: size of a token; None: 192, or 64 for images with a side below 28 pixels.
        depth: number of transformer blocks; None: 12, or 3 for such images.
        heads: number of attention heads, a divisor of the width; None: 3, or 4 for such images.
        taps: number of blocks that are taps, evenly spaced, the last one among them; None: all, as
            HMDC has it.
    """
    if shape.height % patch_size or shape.width % patch_size:
        rows, columns = (-(-side // patch_size) * patch_size for side in (shape.height, shape.width))
        raise InputError(
            f"images are {shape}, their sides must be multiples of patch_size, which is {patch_size}: "
            f"set data.image_size, such as [{rows}, {columns}], or another patch_size"
        )
    large = min(shape.height, shape.width) >= _LARGE
    width = width or (192 if large else 64)
    depth = depth or (12 if large else 3)
    heads = heads or (3 if large else 4)
    if width % heads:
        raise InputError(f"option 'width' is {width}, must be a multiple of heads, which is {heads}")
    grid = (shape.height // patch_size, shape.width // patch_size)
    module = VisionTransformer(
        grid=grid,
        patch_size=patch_size,
        channels=shape.channels,
        classes=classes,
        width=width,
        depth=depth,
        heads=heads,
    )
    blocks = [TapSpec(f"blocks.{block}", "tokens", grid) for block in range(depth)]
    return Architecture(module, evenly_spaced(blocks, taps), classifier="head")
