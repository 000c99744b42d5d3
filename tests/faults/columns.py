"""Columns of any type, for files of strangers in the Parquet format."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from PIL import Image


def png(side: int, mode: str = "L") -> bytes:
    file = io.BytesIO()
    Image.effect_noise((side, side), 90).convert(mode).save(file, format="PNG")
    return file.getvalue()


ROWS = 12
LABELS = [0, 1, 2] * 4
IMAGE_STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
STRUCTS = pa.array([{"bytes": png(8), "path": "x.png"}] * ROWS, IMAGE_STRUCT)
RAW = pa.array(np.random.default_rng(0).integers(0, 256, (ROWS, 6, 6)).tolist(), pa.list_(pa.list_(pa.uint8())))


def typed_values(kind: pa.DataType) -> Any:
    """Some value of the type, or what Arrow makes of an odd one."""
    if pa.types.is_struct(kind):
        return {field.name: typed_values(field.type) for field in kind}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [typed_values(kind.value_type)] * 3
    if pa.types.is_fixed_size_list(kind):
        return [typed_values(kind.value_type)] * kind.list_size
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return png(4)
    return "2" if pa.types.is_string(kind) else 1


LEAVES = [pa.bool_(), pa.int8(), pa.uint8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.string()]
LEAVES += [pa.large_string(), pa.binary(), pa.large_binary(), pa.date32(), pa.timestamp("ns"), pa.decimal128(38, 10), pa.null()]
LEAVES += [
    pa.string_view(),
    pa.binary_view(),
    pa.binary(5),
    pa.duration("s"),
    pa.time64("ns"),
    pa.dictionary(pa.int32(), pa.string()),
]
TYPES = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        st.tuples(inner, st.sampled_from([1, 3])).map(lambda pair: pa.list_(*pair)),
        inner.map(lambda kind: pa.struct([("bytes", kind), ("path", pa.string())])),
        inner.map(lambda kind: pa.map_(pa.string(), kind)),
    ),
    max_leaves=3,
)


@st.composite
def columns(draw: st.DrawFn) -> pa.Array:
    """A column of any type: of values of that type where Arrow makes some, with or without nulls,
    else of nulls alone."""
    if draw(st.booleans()):
        kept = draw(st.sampled_from([STRUCTS, RAW, pa.array(LABELS), pa.array([png(8)] * ROWS)]))
        spoilt_rows = draw(st.lists(st.booleans(), min_size=ROWS, max_size=ROWS))
        return pa.array([None if bad else value.as_py() for bad, value in zip(spoilt_rows, kept, strict=True)], kept.type)
    kind = draw(TYPES)
    try:
        return pa.array([typed_values(kind)] * ROWS).cast(kind)
    except (pa.ArrowException, TypeError, ValueError):
        return pa.nulls(ROWS, kind)
