"""Small files that declare far more than they hold are refused before memory or disk is taken."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from interchange.sets import STATED, make_set
from PIL import Image

from faults.fuzz import reads_or_refuses
from hmdc_ray.condensed import Metadata, load_condensed, save_condensed
from hmdc_ray.config import DataConfig
from hmdc_ray.config.io import load_config
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.sources import prepare
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import export_set, import_set


def refused(message: str, read: Callable[[], object]) -> None:
    """Refused in one line, within the memory that the fuzz tests allow."""

    def read_once() -> None:
        with pytest.raises(InputError, match=message) as caught:
            read()
        raise caught.value

    reads_or_refuses(read_once)


def opened(file: Path) -> object:
    return open_dataset(DataConfig(source=str(file), cache=str(file.parent / "cache")))


# Data sets


def test_billions_of_labels_in_a_few_bytes(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    rows = 20_000_000
    table = pa.table({"image": pa.nulls(rows, pa.binary()), "label": pa.nulls(rows, pa.int64())})
    pq.write_table(table, file, compression="zstd")
    del table
    pa.default_memory_pool().release_unused()
    assert file.stat().st_size < 1 << 20
    refused(r"rows\.parquet unpacks to \d{3},\d{3},\d{3} bytes from \d+,\d+: refused", lambda: opened(file))


def test_images_of_zeros_that_compression_hides(tmp_path: Path) -> None:
    file = tmp_path / "zeros.parquet"
    table = pa.table({"image": [bytes([row]) * (20 << 20) for row in range(8)], "label": [0] * 8})
    pq.write_table(table, file, compression="zstd", use_dictionary=False)
    del table
    refused(r"zeros\.parquet unpacks to 167,\d+,\d+ bytes from", lambda: opened(file))


def test_compressed_arrays_for_prepare(tmp_path: Path) -> None:
    file = tmp_path / "bomb.npz"
    np.savez_compressed(file, images=np.zeros((20, 2048, 2048), np.uint8), labels=np.zeros(20, np.int64))
    assert file.stat().st_size < 1 << 17
    refused(r"bomb\.npz unpacks to 83,\d+,\d+ bytes", lambda: prepare(str(file), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_raw_image_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "wide.parquet"
    pq.write_table(pa.table({"image": [[[0] * 400]] * 2, "label": [0, 0]}), file)
    monkeypatch.setattr("hmdc_ray.data.decode.MAX_PIXELS", 100)
    with pytest.raises(InputError, match=r"wide\.parquet, row 0: raw image has shape \(1, 400\), too large"):
        opened(file)


# Folders of images


def image_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "cat").mkdir(parents=True)
    for name in ("1", "2"):
        Image.new("L", (4, 4)).save(folder / "cat" / f"{name}.png")
    return folder


def test_pipes_and_links_out_of_the_folder_are_left_out(tmp_path: Path) -> None:
    folder = image_folder(tmp_path)
    os.mkfifo(folder / "cat" / "endless.png")
    (folder / "cat" / "outside.png").symlink_to("/dev/zero")
    (folder / "cat" / "elsewhere").symlink_to("/etc")
    assert prepare(str(folder), tmp_path / "out").sizes == {"train": 2}


def test_a_file_too_large_for_an_image_is_not_read(tmp_path: Path) -> None:
    folder = image_folder(tmp_path)
    with (folder / "cat" / "0.png").open("wb") as file:
        file.truncate(1 << 40)  # takes no room
    refused(r"0\.png: file has 1,099,511,627,776 bytes, too large for an image", lambda: prepare(str(folder), tmp_path / "out"))


def test_an_endless_index_is_not_parsed(tmp_path: Path) -> None:
    export_set(make_set(formation=1), tmp_path / "export", "image-folder")
    with (tmp_path / "export" / "index.json").open("r+b") as file:
        file.truncate(1 << 40)
    refused(
        r"index\.json has 1,099,511,627,776 bytes, must be at most", lambda: import_set(tmp_path / "export", "image-folder")
    )


# Condensed sets and imported files


@pytest.mark.parametrize("formation", [0, -1, 9, 224, 2**63])
def test_a_formation_that_multiplies_images(formation: int, tmp_path: Path) -> None:
    images = torch.zeros(1, 1, 224, 224)
    file = tmp_path / "set.pt"
    fields = json.loads(Metadata.of(make_set(1)).model_dump_json()) | {"formation": formation, "shape": [1, 224, 224]}
    torch.save({"images": images, "labels": torch.tensor([0]), "metadata": json.dumps(fields)}, file)
    with pytest.raises(InputError, match="formation"):
        import_set(file, "pt")


def test_classes_without_images(tmp_path: Path) -> None:
    file = tmp_path / "set.pt"
    torch.save({"synthetic_images": torch.zeros(10**12, 0, 3, 4, 4), "factor": 1, "init": "real"}, file)
    refused(
        r"synthetic_images has shape \[1000000000000, 0, 3, 4, 4\], must hold at least one", lambda: import_set(file, "hmdc")
    )


@pytest.mark.parametrize("dtype", ["<U0", "|V0", "|S0"])
def test_arrays_of_values_without_bytes(dtype: str, tmp_path: Path) -> None:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': (1099511627776,)}}".ljust(117) + "\n"
    (tmp_path / "labels.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    torch.save(torch.zeros(1, 1, 4, 4), tmp_path / "images.pt")
    stated = ImportOptions(statistics=STATED.statistics, labels=tmp_path / "labels.npy")
    refused("labels.npy", lambda: import_set(tmp_path / "images.pt", "tensors", stated))


def test_a_condensed_set_of_zeros_that_compression_hides(tmp_path: Path) -> None:
    file = tmp_path / "condensed.parquet"
    save_condensed(file, make_set(1))
    metadata = pq.read_schema(file).metadata
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(100 << 18, np.float32)), 1 << 18)
    table = pa.table({"pixels": pixels, "label": pa.array([0] * 100)}).replace_schema_metadata(metadata)
    pq.write_table(table, file, compression="zstd", use_dictionary=False)
    del table, pixels
    refused(r"condensed\.parquet unpacks to 10\d,\d+,\d+ bytes", lambda: load_condensed(file))


# Configurations


def test_a_configuration_that_repeats_itself_by_aliases(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{depth}: &a{depth} [{', '.join([f'*a{depth - 1}'] * 9)}]" for depth in range(1, 7)]
    (tmp_path / "laughs.yaml").write_text("\n".join([*lines, "seed: *a6"]))
    refused(r"laughs\.yaml line 1: nested too deeply, or repeated too often", lambda: load_config(tmp_path / "laughs.yaml"))
    (tmp_path / "deep.yaml").write_text(
        "pool: {members: [{architecture: mlp, options: {width: " + "[" * 300 + "]" * 300 + "}}]}"
    )
    refused(r"deep\.yaml line 1: nested too deeply", lambda: load_config(tmp_path / "deep.yaml"))
    (tmp_path / "large.yaml").write_text("seed: 0x" + "f" * 5000)
    refused(r"large\.yaml line 1: a number is too large", lambda: load_config(tmp_path / "large.yaml"))
