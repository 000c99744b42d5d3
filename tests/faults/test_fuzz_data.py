"""Parquet files of strangers, spoilt at random: each is read or refused in one line, in bounded
time and memory.

``HMDC_FUZZ_CASES=5000 pytest tests/faults -k fuzz`` is the long mode.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.columns import LABELS, RAW, ROWS, STRUCTS, columns
from faults.fuzz import fresh, fuzz, plain_values, reads_or_refuses, spoilt
from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import open_dataset

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore"),  # of Pillow and torch, about what they then refuse
]


def parquet(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def hugging_face(names: Any) -> dict[bytes, bytes]:
    feature = {"_type": "ClassLabel", "names": names}
    return {b"huggingface": json.dumps({"info": {"features": {"label": feature}}}).encode()}


PARQUETS = [
    parquet(pa.table({"image": STRUCTS, "label": LABELS})),
    parquet(pa.table({"image": RAW, "label": pa.array(LABELS, pa.uint8())}), compression="zstd"),
    parquet(pa.table({"image": STRUCTS, "label": [str(label) for label in LABELS]}), use_dictionary=False, row_group_size=5),
    parquet(
        pa.table({"image": STRUCTS, "label": LABELS}).replace_schema_metadata(hugging_face(["a", "b", "c"])), compression="gzip"
    ),
]


def open_and_look(file: Path, **fields: Any) -> None:
    data = open_dataset(DataConfig(source=str(file), cache=str(fresh(file.parent / "cache")), **fields))
    for split in ("train", "test"):
        data.normalised(split, range(min(2, len(data.labels(split)))))


@fuzz
@given(data=st.sampled_from(PARQUETS).flatmap(spoilt))
def test_parquet_files(data: bytes, scratch: Path) -> None:
    file = scratch / "data.parquet"
    file.write_bytes(data)
    reads_or_refuses(lambda: open_and_look(file))


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    labels = st.sampled_from([pa.array(LABELS), pa.array([2**62] * ROWS), pa.array([-1] * ROWS), pa.array(list("abc") * 4)])
    names = draw(st.permutations(["image", "label", draw(st.text(max_size=5))]))[:2]
    table = pa.table([draw(columns()), draw(labels | columns())], names)
    if draw(st.booleans()):
        table = table.replace_schema_metadata(hugging_face(draw(plain_values())))
    if draw(st.booleans()):
        table = table.replace_schema_metadata(
            {b"huggingface": draw(st.sampled_from([b"[" * 10**5, b"\xff", b"null", b"{}", b"[1]"]))}
        )
    return table


@fuzz
@given(
    table=tables(), size=st.none() | st.tuples(st.integers(1, 1024), st.integers(1, 64)), channels=st.sampled_from([None, 1, 3])
)
def test_parquet_columns_of_any_type(
    table: pa.Table, size: tuple[int, int] | None, channels: int | None, scratch: Path
) -> None:
    file = scratch / "data.parquet"
    try:
        pq.write_table(table, file)
    except (pa.ArrowException, OSError):
        return  # a type that the format does not have
    reads_or_refuses(lambda: open_and_look(file, image_size=size, channels=channels))
