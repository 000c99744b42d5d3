"""Every kind of bad data ends in one line that names the file, the row and the remedy."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_files import IMAGE_STRUCT, encode, random_images, structs, write
from PIL import Image

from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.errors import InputError


def refusal(tmp_path: Path, source: Path | str, **fields: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_dataset(DataConfig(source=str(source), cache=str(tmp_path / "cache"), **fields))
    message = str(caught.value)
    assert "\n" not in message
    assert not list((tmp_path / "cache").glob("*.arrow")) and not list((tmp_path / "cache").glob("*.partial"))
    return message


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


BAD_LABELS: dict[str, tuple[Any, list[str] | None, str]] = {
    "null": ([0, 1, None, 1], None, "row 2: label is null"),
    "negative": ([0, 1, 0, -2], None, "row 3: label is -2"),
    "unlabelled": ([0, 1, 0, -1], None, "row 3: label is -1; must be 0 to 999999 (-1 stands for images without labels"),
    "empty text": (["a", "b", "", "b"], None, "row 2: label is an empty text"),
    "out of range": ([0, 1, 2, 1], ["a", "b"], "row 2: label is 2; must be 0 to 1"),
    "absurd": ([0, 1, 10**12, 1], None, "row 2: label is 1000000000000"),
    "beyond int64": (pa.array([0, 1, 2**64 - 1, 1], pa.uint64()), None, "row 2: label is 18446744073709551615"),
    "gap": ([0, 2, 0, 2], None, "class '1' (label 1) has no training images"),
    "unused name": ([0, 1, 0, 1], ["a", "b", "never"], "class 'never' (label 2) has no training images"),
    "unknown name": (["a", "b", "x", "b"], ["a", "b"], "row 2: label is 'x', not one of the 2 class names"),
    "floats": ([0.0, 1.0, 0.0, 1.0], None, "'label' (data.label_column) holds double; labels are integers or strings"),
    "doubled names": ([0, 1, 0, 1], ["a", "a"], "list of different strings"),
    "one image per class": ([0, 1, 2, 3], None, "no test images"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels(tmp_path: Path, case: str) -> None:
    labels, names, expected = BAD_LABELS[case]
    message = refusal(tmp_path, write(tmp_path / "bad.parquet", structs(random_images(4, 4, 4)), labels, names))
    assert expected in message and "bad.parquet" in message


def test_class_with_test_images_only(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", structs(random_images(2, 4, 4)), ["ant", "cat"])
    write(tmp_path / "test.parquet", structs(random_images(2, 4, 4)), ["ant", "bee"])
    assert "class 'bee' (label 1) has no training images" in refusal(tmp_path, tmp_path)


def test_bad_row_is_counted_within_its_file(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", bytes_column(GOOD, GOOD, GOOD), [0, 0, 0])
    second = write(tmp_path / "train-1.parquet", bytes_column(GOOD, b"x"), [0, 0])
    assert f"{second}, row 1 (a.png): " in refusal(tmp_path, tmp_path)


def test_bad_sources(tmp_path: Path) -> None:
    assert "'/nowhere' does not exist" in refusal(tmp_path, "/nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds no Parquet file" in refusal(tmp_path, tmp_path / "empty")
    (tmp_path / "text.parquet").write_text("hello")
    assert "text.parquet: cannot be read as a Parquet file" in refusal(tmp_path, tmp_path / "text.parquet")
    rowless = write(tmp_path / "rowless.parquet", structs([]), pa.array([], pa.int64()))
    assert "hold no rows" in refusal(tmp_path, rowless)
    write(tmp_path / "odd" / "train.parquet", structs(random_images(2, 4, 4)), [0, 0])
    write(tmp_path / "odd" / "extra.parquet", structs(random_images(2, 4, 4)), [0, 0])
    assert "'extra.parquet' belongs to no split" in refusal(tmp_path, tmp_path / "odd")
    write(tmp_path / "tests" / "test" / "0.parquet", structs(random_images(2, 4, 4)), [0, 0])
    assert "no training files" in refusal(tmp_path, tmp_path / "tests")


def test_parquet_file_damaged_inside(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", structs(random_images(50, 16, 16)), [0] * 50)
    content = bytearray(path.read_bytes())
    content[50:3000] = bytes(2950)
    path.write_bytes(content)
    assert f"{path}" in refusal(tmp_path, path)


def test_bad_columns(tmp_path: Path) -> None:
    images = structs(random_images(2, 4, 4))
    path = write(tmp_path / "data.parquet", images, [0, 0])
    assert "no column 'imag' (data.image_column); did you mean 'image'?" in refusal(tmp_path, path, image_column="imag")
    assert "no column 'lable' (data.label_column); did you mean 'label'?" in refusal(tmp_path, path, label_column="lable")
    assert "'label' (data.image_column) holds int64" in refusal(tmp_path, path, image_column="label")
    no_image = write(tmp_path / "words.parquet", pa.array(["a", "b"]), [0, 0], image="text")
    assert "no image column found: it has text, label; set data.image_column" in refusal(tmp_path, no_image)
    links = write(tmp_path / "links.parquet", pa.array(["a.png", "b.png"]), [0, 0])
    assert "'image' (data.image_column) holds string" in refusal(tmp_path, links)
    no_label = write(tmp_path / "unlabelled.parquet", images, [0.5, 0.5], label="score")
    assert "no label column found" in refusal(tmp_path, no_label)
    pq.write_table(pa.table({"image": images, "a": [0, 0]}), tmp_path / "number.parquet")
    message = refusal(tmp_path, tmp_path / "number.parquet")
    assert "it has image, a; set data.label_column" in message


def test_files_that_do_not_fit_together(tmp_path: Path) -> None:
    images = structs(random_images(2, 4, 4))
    write(tmp_path / "names" / "train.parquet", images, [0, 1], ["a", "b"])
    write(tmp_path / "names" / "test.parquet", images, [0, 1], ["b", "a"])
    assert "class names in the schema metadata differ" in refusal(tmp_path, tmp_path / "names")
    write(tmp_path / "kinds" / "train.parquet", images, [0, 1])
    write(tmp_path / "kinds" / "test.parquet", images, ["0", "1"])
    assert "labels are strings, but integers in" in refusal(tmp_path, tmp_path / "kinds")


def test_unreadable_metadata(tmp_path: Path) -> None:
    table = pa.table({"image": structs(random_images(2, 4, 4)), "label": [0, 0]})
    pq.write_table(table.replace_schema_metadata({"huggingface": "{"}), tmp_path / "data.parquet")
    assert "'huggingface' schema metadata cannot be read" in refusal(tmp_path, tmp_path / "data.parquet")


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
