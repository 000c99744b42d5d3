"""Parquet files of all usual layouts are read; bad ones end in one line that names the file, the
row and the remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.dataset_files import IMAGE_STRUCT, encode, opened, random_images, refusal, structs, write, write_folder
from hmdc_ray.data.schema import SPLITS


def bytes_column(*encoded: bytes | None) -> pa.Array:
    return pa.array([{"bytes": value, "path": "a.png"} for value in encoded], IMAGE_STRUCT)


GOOD = encode(random_images(1, 4, 4)[0])


def test_bad_row_is_counted_within_its_file(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", bytes_column(GOOD, GOOD, GOOD), [0, 0, 0])
    second = write(tmp_path / "train-1.parquet", bytes_column(GOOD, b"x"), [0, 0])
    assert f"{second}, row 1 (a.png): " in refusal(tmp_path, tmp_path)


def test_bad_sources(tmp_path: Path) -> None:
    assert "'/nowhere' does not exist" in refusal(tmp_path, "/nowhere")
    (tmp_path / "text.parquet").write_text("hello")
    assert "text.parquet: cannot be read as a Parquet file" in refusal(tmp_path, tmp_path / "text.parquet")
    rowless = write(tmp_path / "rowless.parquet", structs([]), pa.array([], pa.int64()))
    assert "hold no rows" in refusal(tmp_path, rowless)
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


LAYOUTS = {
    "grey PNG struct": (random_images(6, 5, 7), structs),
    "colour PNG struct": (random_images(6, 5, 7, 3), structs),
    "binary": (random_images(6, 5, 7, 3), lambda images: pa.array([encode(image) for image in images])),
    "large binary": (
        random_images(6, 5, 7),
        lambda images: pa.array([encode(image) for image in images], pa.large_binary()),
    ),
    "lists HW": (random_images(6, 5, 7), lambda images: pa.array(images.tolist(), pa.list_(pa.list_(pa.uint8())))),
    "lists HWC of int64": (random_images(6, 5, 7, 3), lambda images: pa.array(images.tolist())),
    "fixed-size lists HWC": (
        random_images(6, 5, 7, 3),
        lambda images: pa.array(images.tolist(), pa.list_(pa.list_(pa.list_(pa.uint8(), 3), 7), 5)),
    ),
    "lists HW1": (random_images(6, 5, 7), lambda images: pa.array(images[..., None].tolist())),
    "lists CHW": (random_images(6, 5, 7, 3), lambda images: pa.array(images.transpose(0, 3, 1, 2).tolist())),
    "lists 1HW": (random_images(6, 5, 7), lambda images: pa.array(images[:, None].tolist())),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_stored_pixels(tmp_path: Path, layout: str) -> None:
    images, store = LAYOUTS[layout]
    dataset = opened(tmp_path, write_folder(tmp_path / "data", store(images), [0, 1, 2, 2, 1, 0]))
    expected = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    for split in SPLITS:
        assert np.array_equal(dataset.pixels(split, range(6)).numpy(), expected)
        assert dataset.labels(split).tolist() == [0, 1, 2, 2, 1, 0]
    assert (dataset.info.shape.channels, dataset.info.shape.height, dataset.info.shape.width) == expected.shape[1:]
    assert dataset.info.class_names == ("0", "1", "2")
