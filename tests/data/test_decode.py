"""Images of every usual kind are decoded to pixels, or named by file and row."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from data.dataset_files import IMAGE_STRUCT, encode, opened, random_images, refusal, structs, write, write_folder
from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import open_dataset


def bytes_column(*encoded: bytes | None) -> pa.Array:
    return pa.array([{"bytes": value, "path": "a.png"} for value in encoded], IMAGE_STRUCT)


def huge_png(side: int) -> bytes:
    """A PNG whose header claims side x side pixels; there are none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


GOOD = encode(random_images(1, 4, 4)[0])
COLOUR = encode(random_images(1, 4, 4, 3)[0])
ARRAYS = random_images(2, 4, 4).tolist()

BAD_ROW: dict[str, tuple[bytes | None, tuple[str, ...]]] = {
    "garbage": (b"no image", ("cannot be decoded", "8 bytes")),
    "cut short": (encode(random_images(1, 64, 64)[0])[:1000], ("cannot be decoded",)),
    "null": (None, ("image is null",)),
    "other size": (encode(random_images(1, 4, 6)[0]), ("4 x 6", "4 x 4", "data.image_size")),
    "colour after grey": (COLOUR, ("'RGB'", "data.channels: 3")),
    "9000 x 9000": (huge_png(9000), ("9000 x 9000", "too large")),
    "decompression bomb": (huge_png(100_000), ("too large", "at most 64000000 pixels")),
    "16 bits": (encode(Image.fromarray(np.full((4, 4), 60_000, np.uint16))), ("more than 8 bits",)),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", ("cannot be decoded",)),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("case", "row"),
    [(case, row) for case in BAD_ROW for row in (0, 70) if row or case not in ("other size", "colour after grey")],
)
def test_bad_image_is_named_by_file_and_row(tmp_path: Path, case: str, row: int) -> None:
    encoded, expected = BAD_ROW[case]
    path = write(tmp_path / "bad.parquet", bytes_column(*[GOOD] * row, encoded, GOOD), [0] * (row + 2))
    message = refusal(tmp_path, path)
    for text in (f"{path}, row {row} (a.png): ", *expected):
        assert text in message


BAD_ARRAYS: dict[str, tuple[pa.Array, str]] = {
    "too large": (pa.array([ARRAYS[0], [[0, 256], [0, 0]]]), "row 1: raw image holds 256; values must be 0 to 255"),
    "negative": (pa.array([[[0, -1], [0, 0]]] * 2), "row 0: raw image holds -1"),
    "ragged": (pa.array([ARRAYS[0], [[1, 2], [1]]]), "row 1: raw image has rows of unequal length"),
    "null row": (pa.array([ARRAYS[0], [[1, 2], None]]), "row 1: raw image has rows of unequal length, null rows"),
    "null value": (pa.array([ARRAYS[0], [[1, None], [1, 2]]]), "row 1: raw image holds null values"),
    "null image": (pa.array([ARRAYS[0], None]), "row 1: image is null"),
    "empty": (pa.array([[], ARRAYS[0]]), "row 0: raw image has rows of unequal length, null rows, or none"),
    "five channels": (pa.array([[[[0] * 5] * 4] * 4] * 2), "row 0: raw image has shape (4, 4, 5)"),
    "floats": (pa.array([[[0.5, 1.0]]] * 2), "raw images of double; expected integers from 0 to 255"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_array(tmp_path: Path, case: str) -> None:
    column, expected = BAD_ARRAYS[case]
    assert expected in refusal(tmp_path, write(tmp_path / "bad.parquet", column, [0, 0]))


def test_all_formats_decode(tmp_path: Path) -> None:
    image = Image.fromarray(random_images(1, 8, 8, 3)[0])
    encoded = []
    for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP"):
        buffer = io.BytesIO()
        image.save(buffer, format=kind)
        encoded.append(buffer.getvalue())
    path = write(tmp_path / "data.parquet", bytes_column(*encoded), [0] * 5)
    dataset = open_dataset(DataConfig(source=str(path), cache=str(tmp_path / "cache")))
    assert sum(dataset.info.sizes.values()) == 5


def test_resizing_and_channels(tmp_path: Path) -> None:
    grey, colour = random_images(1, 6, 8)[0], random_images(1, 4, 4, 3)[0]
    source = write_folder(tmp_path / "data", structs([grey, colour]), [0, 0])
    both = opened(tmp_path, source, image_size=(5, 9), channels=3).pixels("train", [0, 1]).numpy()
    for row, image in enumerate((grey, colour)):
        expected = np.asarray(Image.fromarray(image).convert("RGB").resize((9, 5), Image.Resampling.BILINEAR))
        assert np.array_equal(both[row], expected.transpose(2, 0, 1))
    assert opened(tmp_path, source, image_size=(5, 9), channels=1).pixels("train", [1]).shape == (1, 1, 5, 9)


def test_grey_images_after_a_colour_one_become_colour(tmp_path: Path) -> None:
    grey = random_images(1, 4, 4)[0]
    source = write_folder(tmp_path / "data", structs([random_images(1, 4, 4, 3)[0], grey]), [0, 0])
    assert np.array_equal(opened(tmp_path, source).pixels("test", [1]).numpy()[0], np.stack([grey] * 3))


def test_rotation_tags_are_applied(tmp_path: Path) -> None:
    image = Image.fromarray(random_images(1, 4, 6)[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    encoded = pa.array([(tmp_path / "turned.png").read_bytes()])
    dataset = opened(tmp_path, write_folder(tmp_path / "data", encoded, [0]), image_size=(6, 4))
    assert np.array_equal(dataset.pixels("train", [0]).numpy()[0, 0], np.rot90(np.asarray(image), -1))
