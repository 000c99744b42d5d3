"""One image: from encoded bytes or a raw array to pixels of the data set's shape."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from hmdc_ray.data.schema import Pixels
from hmdc_ray.errors import InputError
from hmdc_ray.models.shape import ImageShape

MAX_PIXELS = 64 * 10**6
"""Images with more pixels are refused before memory is taken for them."""

MAX_ENCODED_BYTES = 4 * MAX_PIXELS
"""Files with more bytes are no images that could be read."""

# Others are left out on purpose: some of Pillow's decoders start programs or read further files.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


@dataclass(frozen=True)
class PixelRule:
    """The shape that every image must come to, and whether images may be changed to reach it.

    Attributes:
        shape: of every decoded image.
        resizes: images of another size are resized; else they are errors.
        converts: colour images are turned grey where ``shape`` is; else they are errors. Grey to colour always works.
    """

    shape: ImageShape
    resizes: bool
    converts: bool

    @classmethod
    def following(cls, first: Image.Image, image_size: tuple[int, int] | None, channels: int | None) -> PixelRule:
        """The rule set by the first image where the configuration leaves ``image_size`` or ``channels`` open."""
        height, width = image_size or (first.height, first.width)
        shape = ImageShape(channels=channels or (1 if first.mode in _GREY_MODES else 3), height=height, width=width)
        return cls(shape, resizes=image_size is not None, converts=channels is not None)

    @property
    def bytes_per_image(self) -> int:
        """Memory that one decoded image takes."""
        return self.shape.channels * self.shape.height * self.shape.width


def read_encoded(path: Path) -> bytes:
    """Content of a file that may be an image.

    Raises:
        InputError: larger than any image that is read.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size > MAX_ENCODED_BYTES:
        raise InputError(f"file has {size:,} bytes, too large for an image; at most {MAX_ENCODED_BYTES:,} are read")
    return path.read_bytes()


def open_encoded(data: bytes) -> Image.Image:
    """Read the header of an encoded image; pixels are decoded when they are first used.

    Raises:
        InputError: not an image in a known format, or larger than :data:`MAX_PIXELS`.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(f"image is too large ({error}); at most {MAX_PIXELS} pixels are read") from error
    except Exception as error:  # Pillow's readers raise many kinds of error on broken bytes
        raise InputError(f"image cannot be decoded: its {len(data)} bytes are no PNG, JPEG, BMP, GIF or WebP") from error
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"image is {image.width} x {image.height}, too large; at most {MAX_PIXELS} pixels are read")
    return image


def image_from_array(array: npt.NDArray[np.generic]) -> Image.Image:
    """An image from raw values 0 to 255, shaped (H, W), (H, W, C) or (C, H, W) with C = 1 or 3.

    A shape that can be read both ways, such as (3, 28, 3), is taken as (H, W, C).

    Raises:
        InputError: not integers, values outside 0..255, more than :data:`MAX_PIXELS`, or another shape.
    """
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"raw image holds {array.dtype}; expected integers from 0 to 255")
    if array.ndim == 3 and array.shape[2] not in (1, 3) and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.size > 3 * MAX_PIXELS:
        raise InputError(f"raw image has shape {array.shape}, too large; at most {MAX_PIXELS} pixels are read")
    if 0 in array.shape or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))):
        raise InputError(f"raw image has shape {array.shape}; expected (H, W), (H, W, C) or (C, H, W) with C = 1 or 3")
    low, high = array.min(), array.max()
    if low < 0 or high > 255:
        raise InputError(f"raw image holds {low if low < 0 else high}; values must be 0 to 255")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(array, dtype=np.uint8))


def to_pixels(image: Image.Image, rule: PixelRule) -> Pixels:
    """Decode an image to (channels, height, width) as ``rule`` says; transparency is dropped, rotation tags are applied.

    Raises:
        InputError: broken pixels, more than 8 bits a channel, or a size or colour that the rule does not allow.
    """
    if image.mode in _DEEP_MODES:
        raise InputError(f"image has mode {image.mode!r} with more than 8 bits a channel; store it as 8-bit grey or colour")
    shape = rule.shape
    if shape.channels == 1 and not rule.converts and image.mode not in _GREY_MODES:
        raise InputError(
            f"image is colour (mode {image.mode!r}) but the first one is grey; set data.channels: 3 for colour, 1 for grey"
        )
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image)
        mode = "L" if shape.channels == 1 else "RGB"
        image.load()
        image = image if image.mode == mode else image.convert(mode)
    except Exception as error:  # Pillow's decoders raise many kinds of error on broken bytes
        raise InputError(f"image cannot be decoded: {error}") from error
    if (image.height, image.width) != (shape.height, shape.width):
        if not rule.resizes:
            raise InputError(
                f"image is {image.height} x {image.width} (height x width) but the first one is"
                f" {shape.height} x {shape.width}; set data.image_size to resize all"
            )
        image = image.resize((shape.width, shape.height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if shape.channels == 1 else pixels.transpose(2, 0, 1))
