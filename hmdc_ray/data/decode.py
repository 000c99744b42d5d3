"""One image: from encoded bytes or a raw array to pixels of the data set's shape."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from hmdc_ray.data.limits import LFS_POINTER
from hmdc_ray.data.schema import Pixels
from hmdc_ray.errors import InputError
from hmdc_ray.models.shape import ImageShape

MAX_PIXELS = 64 * 10**6
"""Images with more pixels are refused before memory is taken for them."""

MAX_ENCODED_BYTES = 4 * MAX_PIXELS
"""Files with more bytes are refused before they are read."""

# What Pillow tells by the first bytes. Others are left out on purpose: some of its decoders start
# programs or read other files.
_FORMATS = (
    *("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000"),
    *("ICO", "PCX", "SGI", "SUN", "QOI"),
)
_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_SIXTEEN_BITS = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_DEEP_MODES = _SIXTEEN_BITS | {"I", "F"}

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes the orientation of an EXIF tag, by the tag's value."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


@cache
def image_endings() -> frozenset[str]:
    """Endings of the image files that are read, in lower case, with their dot; MPO is JPEG with
    several images."""
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in _FORMATS or kind == "MPO")


@dataclass(frozen=True)
class PixelRule:
    """The shape that every decoded image must have, and whether images may be changed to reach it.

    Attributes:
        shape: shape of every decoded image.
        resizes: whether images of another size are resized; else they are errors.
        converts: whether colour images are turned grey where ``shape`` is; else they are errors.
            Grey to colour always works.
    """

    shape: ImageShape
    resizes: bool
    converts: bool

    @classmethod
    def following(cls, first: Image.Image, image_size: tuple[int, int] | None, channels: int | None) -> PixelRule:
        """The rule set by the first image where the configuration leaves ``image_size`` or
        ``channels`` open."""
        height, width = image_size or _upright_size(first)
        shape = ImageShape(channels=channels or (1 if first.mode in _GREY_MODES else 3), height=height, width=width)
        return cls(shape, resizes=image_size is not None, converts=channels is not None)


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

    A PNG file whose texts, profiles or other metadata are damaged is read without them.

    Raises:
        InputError: not an image in a known format, or larger than :data:`MAX_PIXELS`.
    """
    try:
        image = _open(data)
    except Image.DecompressionBombError as error:
        raise InputError(f"image is too large ({error}); at most {MAX_PIXELS} pixels are read") from error
    except Exception as error:  # Pillow's readers raise many kinds of error on broken bytes
        if data.startswith(LFS_POINTER):
            raise InputError("image is a pointer of Git LFS: run 'git lfs pull' in its repository") from error
        kinds = f"{', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}"
        raise InputError(f"image cannot be decoded: its {len(data)} bytes cannot be read as {kinds}") from error
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"image is {image.width} x {image.height}, too large; at most {MAX_PIXELS} pixels are read")
    return image


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise
    except Exception:
        if not data.startswith(_PNG_SIGNATURE):
            raise
        return Image.open(io.BytesIO(_png_pixels(data)), formats=("PNG",))


def _png_pixels(data: bytes) -> bytes:
    """A PNG file without the chunks that are not needed for its pixels."""
    kept, start = [_PNG_SIGNATURE], len(_PNG_SIGNATURE)
    while start + 12 <= len(data):  # a chunk: length, kind, content, checksum
        length, kind = struct.unpack_from(">I4s", data, start)
        if kind in _PNG_PIXELS:
            kept.append(data[start : start + 12 + length])
        start += 12 + length
    return b"".join(kept)


def image_from_array(array: npt.NDArray[np.generic]) -> Image.Image:
    """An image from raw values 0 to 255, shaped (H, W), (H, W, C) or (C, H, W) with C = 1 or 3.

    A shape that can be read both ways, such as (3, 28, 3), is taken as (H, W, C).

    Raises:
        InputError: not integers, values outside 0..255, more than :data:`MAX_PIXELS`, or another
            shape.
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


def is_deep(image: Image.Image) -> bool:
    """Whether grey values have more than 8 bits."""
    return image.mode in _DEEP_MODES


def is_sixteen_bits(image: Image.Image) -> bool:
    """Whether grey values have 16 bits, perhaps stored in a wider format (PGM files)."""
    return image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format == "PPM")


def has_deep_colour(image: Image.Image) -> bool:
    """Whether colours are stored in 16 bits a channel, of which Pillow reads the upper 8; ask
    before they are decoded."""
    return not is_deep(image) and any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))


def has_more_frames(image: Image.Image) -> bool:
    """Whether the file holds images after the one that is read, whole or broken; previews do not
    count."""
    try:
        return bool(getattr(image, "is_animated", False)) and image.format != "MPO"
    except Exception:  # Pillow's readers raise many kinds of error on broken bytes
        return True


def from_sixteen_bits(image: Image.Image) -> Image.Image:
    """A grey image of 16 bits in 8: its values, 0 to 65,535, over 257, rounded; upright as the
    rotation tag says.

    Raises:
        InputError: an image of another kind, such as of 32 bits or floating point; broken pixels.
    """
    if not is_sixteen_bits(image):
        raise InputError(f"image has mode {image.mode!r}, which is not grey of 16 bits; store it as 8-bit grey or colour")
    try:
        turn = _UPRIGHT.get(_orientation(image))
        values_HW = np.asarray(image).astype(np.uint32)
    except Exception as error:  # Pillow's decoders raise many kinds of error on broken bytes
        raise InputError(f"image cannot be decoded: {error}") from error
    scaled = Image.fromarray(((values_HW + 128) // 257).astype(np.uint8))
    return scaled if turn is None else scaled.transpose(turn)


def decode(image: Image.Image, mode: str | None = None) -> Image.Image:
    """Decode all pixels and turn them upright as the rotation tag says; transparency is dropped.

    Args:
        image: opened image of 8 bits a channel.
        mode: Pillow's mode to convert to, ``L`` or ``RGB``; None: as the image is, grey or colour.

    Raises:
        InputError: broken pixels, or more than 8 bits a channel.
    """
    if is_deep(image):
        raise InputError(f"image has mode {image.mode!r} with more than 8 bits a channel; store it as 8-bit grey or colour")
    mode = mode or ("L" if image.mode in _GREY_MODES else "RGB")
    try:
        turn = _UPRIGHT.get(_orientation(image))
        image.load()
        image = image if image.mode == mode else image.convert(mode)
        return image if turn is None else image.transpose(turn)
    except Exception as error:  # Pillow's decoders raise many kinds of error on broken bytes
        raise InputError(f"image cannot be decoded: {error}") from error


def _orientation(image: Image.Image) -> int:
    """The rotation tag; 1, which is upright, where the image has none or its metadata are
    damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the reader of EXIF raises many kinds of error on broken bytes; the pixels may be whole
        return 1


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width after the turn that the rotation tag asks for."""
    return (image.width, image.height) if _orientation(image) >= 5 else (image.height, image.width)


def to_pixels(image: Image.Image, rule: PixelRule) -> Pixels:
    """Decode an image to (channels, height, width) as ``rule`` says; see :func:`decode`.

    Raises:
        InputError: broken pixels, more than 8 bits a channel, or a size or colour that the rule
            does not allow.
    """
    shape, grey = rule.shape, image.mode in _GREY_MODES
    if shape.channels == 1 and not rule.converts and not grey and not is_deep(image):
        raise InputError(
            f"image is colour (mode {image.mode!r}) but the first one is grey; set data.channels: 3 for colour, 1 for grey"
        )
    image = decode(image, "L" if shape.channels == 1 else "RGB")
    if (image.height, image.width) != (shape.height, shape.width):
        if not rule.resizes:
            raise InputError(
                f"image is {image.height} x {image.width} (height x width) but the first one is"
                f" {shape.height} x {shape.width}; set data.image_size to resize all"
            )
        image = image.resize((shape.width, shape.height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if shape.channels == 1 else pixels.transpose(2, 0, 1))
