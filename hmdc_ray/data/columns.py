"""Which columns of a Parquet file hold images and labels, and what the classes are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from hmdc_ray.errors import InputError, closest

IMAGE_NAMES = ("image", "images", "img", "picture", "pixels")
"""Names of image columns, in any case, the likeliest first."""
LABEL_NAMES = (
    *("label", "labels", "fine_label", "coarse_label", "class", "class_label", "category"),
    *("target", "targets", "y"),
)
"""Names of label columns, in any case, the likeliest first."""
SPLIT_NAME = "split"
"""Name, in any case, of a column that says each row's split."""


def image_column(schema: pa.Schema, named: str | None, file: Path) -> str:
    """The column with the images: ``named``, else a usual name, else the only one of a fitting
    type.

    Fitting are struct<bytes, path>, binary, and two or three levels of nested lists of integers.

    Raises:
        InputError: no such column, several without a usual name, or one of another type.
    """
    column = named or _find_images(schema, file)
    field = _field(schema, column, "image", file)
    if not _may_hold_images(field.type):
        raise InputError(
            f"{file}: column {column!r} (data.image_column) holds {field.type};"
            " images are struct<bytes, path>, binary, or nested lists of 8-bit integers"
        )
    values = nested_value_type(field.type)
    if values is not None and not pa.types.is_integer(values):
        raise InputError(f"{file}: column {column!r} holds raw images of {values}; expected integers from 0 to 255")
    return column


def label_column(schema: pa.Schema, named: str | None, file: Path) -> str:
    """The column with the labels: ``named``, else a usual name, else the one that the Hugging Face
    metadata call a ClassLabel.

    Never another one: numbers of rows, visits or patients are integers too.

    Raises:
        InputError: no such column, or one that holds neither integers nor strings. Lists the
            columns.
    """
    column = named or _usual(schema, LABEL_NAMES) or _find_class_label(schema, file)
    field = _field(schema, column, "label", file)
    if not (pa.types.is_integer(field.type) or is_text(field.type)):
        raise InputError(f"{file}: column {column!r} (data.label_column) holds {field.type}; labels are integers or strings")
    return column


def other_label_columns(schema: pa.Schema, column: str, file: Path) -> tuple[str, ...]:
    """Columns beside ``column`` that are called as label columns are, or that the Hugging Face
    metadata call a ClassLabel."""
    features = _features(schema, file)
    return tuple(
        name
        for name in schema.names
        if name != column and (name.lower() in LABEL_NAMES or _class_label(features.get(name)) is not None)
    )


def split_column(schema: pa.Schema, named: str | None, file: Path) -> str | None:
    """The column with each row's split: ``named``, else one called ``split``; None where there is
    none.

    Raises:
        InputError: no such column, or several of that name in other cases.
    """
    found = [named] if named else list(dict.fromkeys(name for name in schema.names if name.lower() == SPLIT_NAME))
    if len(found) > 1:
        raise InputError(f"{file}: columns {' and '.join(map(repr, found))} may say each row's split; set data.split_column")
    for column in found:
        _field(schema, column, "split", file)
    return found[0] if found else None


def class_names(schema: pa.Schema, column: str, file: Path) -> tuple[str, ...] | None:
    """Names that the Hugging Face metadata give to the values of a column; None where they give
    none.

    Raises:
        InputError: the metadata cannot be read, or the names are not a list of different strings.
    """
    names = _class_label(_features(schema, file).get(column))
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(f"{file}: class names in the 'huggingface' schema metadata must be a list of different strings")
    return tuple(names)


def _class_label(feature: Any) -> Any:
    """What stands for the names in the description of a ClassLabel; None in that of any other
    column."""
    return feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None


def _features(schema: pa.Schema, file: Path) -> dict[str, Any]:
    """What the Hugging Face metadata say of each column; empty where there are none."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    if metadata is None:
        return {}
    try:
        features = json.loads(metadata)["info"]["features"]
        return dict(features)
    except KeyError:
        return {}
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{file}: the 'huggingface' schema metadata cannot be read: {error}") from error


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings, dictionary-encoded ones included."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether this is a list type of any layout."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def nested_value_type(kind: pa.DataType) -> pa.DataType | None:
    """Type of the values in two or three levels of nested lists; None for any other type."""
    depth = 0
    kind = storage_type(kind)
    while is_list(kind):
        depth, kind = depth + 1, kind.value_type
    return kind if depth in (2, 3) else None


def storage_type(kind: pa.DataType) -> pa.DataType:
    """The type that an extension type is stored as; any other type itself."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def is_binary(kind: pa.DataType) -> bool:
    """Whether values are byte strings."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _may_hold_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        position = kind.get_field_index("bytes")
        return position >= 0 and is_binary(kind.field(position).type)
    return is_binary(kind) or nested_value_type(kind) is not None


def _usual(schema: pa.Schema, names: tuple[str, ...]) -> str | None:
    """The first of the names that a column has, in this or another case."""
    for name in names:
        found = [column for column in schema.names if column.lower() == name]
        if found:
            return name if name in found else str(found[0])
    return None


def _find_images(schema: pa.Schema, file: Path) -> str:
    usual = _usual(schema, IMAGE_NAMES)
    if usual is not None:
        return usual
    fitting = [field.name for field in schema if _may_hold_images(field.type)]
    if len(fitting) == 1:
        return str(fitting[0])
    found = f"{len(fitting)} columns may be it ({', '.join(fitting)})" if fitting else f"it has {', '.join(schema.names)}"
    raise InputError(f"{file}: no image column found: {found}; set data.image_column")


def _find_class_label(schema: pa.Schema, file: Path) -> str:
    labels = [name for name in schema.names if class_names(schema, name, file) is not None]
    if len(labels) == 1:
        return str(labels[0])
    raise InputError(
        f"{file}: no label column found: none is called {', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; it has"
        f" {', '.join(schema.names)}; set data.label_column to the one with the classes"
    )


def _field(schema: pa.Schema, column: str, role: str, file: Path) -> pa.Field:
    if schema.names.count(column) > 1:
        raise InputError(f"{file}: {schema.names.count(column)} columns are called {column!r}; keep one")
    if column not in schema.names:
        raise InputError(f"{file}: no column {column!r} (data.{role}_column); {closest(column, schema.names)}")
    return schema.field(column)
