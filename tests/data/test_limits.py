"""What is small on the disk and huge in memory, or beyond the room there is, is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.dataset_files import opened, refusal
from hmdc_ray.data import limits
from hmdc_ray.errors import InputError


def test_metadata_that_contradict_themselves(tmp_path: Path) -> None:
    file = tmp_path / "data.parquet"
    pq.write_table(pa.table({"image": [b"x"] * 4, "label": [0] * 4}), file)

    class Metadata:
        num_rows = 2**50
        num_row_groups = 0

    class Parquet:
        metadata = Metadata()

    with pytest.raises(InputError, match=r"data\.parquet: its metadata name 1125899906842624 rows, and other numbers"):
        limits.check_parquet(file, Parquet())


def test_decoded_images_that_the_disk_has_no_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "data.parquet"
    pq.write_table(pa.table({"image": np.zeros((4, 8, 8), np.uint8).tolist(), "label": [0, 0, 1, 1]}), file)
    usage = type("Usage", (), {"free": 255})
    with monkeypatch.context() as disk:
        disk.setattr("shutil.disk_usage", lambda _: usage)
        message = refusal(tmp_path, file)
    assert re.search(r"data\.cache: 4 decoded images take 256 bytes, but .* has room for 255", message)
    opened(tmp_path, file)


def test_content_may_be_64_mib_or_a_hundred_times_the_file() -> None:
    for unpacked, packed in ((64 << 20, 1), (100 << 20, 1 << 20)):
        limits.check_expansion(Path("x"), unpacked, packed)
        with pytest.raises(InputError, match=rf"x unpacks to {unpacked + 1:,} bytes from {packed:,}: refused"):
            limits.check_expansion(Path("x"), unpacked + 1, packed)
