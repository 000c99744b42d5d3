"""Which columns of a Parquet file hold images and labels, and what the classes are called."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from hmdc_ray.errors import InputError, closest

IMAGE_NAMES = ("image", "images", "img", "picture", "pixels")
"""Names of image columns, the likeliest first."""
LABEL_NAMES = ("label", "labels", "fine_label", "coarse_label", "class", "target", "y")
"""Names of label columns, the likeliest first."""


def image_column(schema: pa.Schema, named: str | None, file: Path) -> str:
    """The column with the images: ``named``, else a usual name, else the only one of a fitting type.

    Fitting are struct<bytes, path>, binary, and two or three levels of nested lists of integers.

    Raises:
        InputError: no such column, several without a usual name, or one of another type.
    """
    column = named or _find(schema, IMAGE_NAMES, _may_hold_images, "image", file)
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
    """The column with the labels: ``named``, else a usual name, else the only integer column.

    Raises:
        InputError: no such column, several without a usual name, or one that holds neither integers nor strings.
    """
    column = named or _find(schema, LABEL_NAMES, pa.types.is_integer, "label", file)
    field = _field(schema, column, "label", file)
    if not (pa.types.is_integer(field.type) or is_text(field.type)):
        raise InputError(f"{file}: column {column!r} (data.label_column) holds {field.type}; labels are integers or strings")
    return column


def class_names(schema: pa.Schema, label: str, file: Path) -> tuple[str, ...] | None:
    """Names that the Hugging Face metadata gives to the classes in column ``label``; None where it gives none.

    Raises:
        InputError: the metadata cannot be read, or the names are not a list of different strings.
    """
    metadata = (schema.metadata or {}).get(b"huggingface")
    if metadata is None:
        return None
    try:
        feature = json.loads(metadata)["info"]["features"][label]
        names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    except KeyError:
        return None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file}: the 'huggingface' schema metadata cannot be read: {error}") from error
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(f"{file}: class names in the 'huggingface' schema metadata must be a list of different strings")
    return tuple(names)


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


def _find(schema: pa.Schema, names: tuple[str, ...], fits: Callable[[pa.DataType], bool], role: str, file: Path) -> str:
    usual = [name for name in names if name in schema.names]
    if usual:
        return usual[0]
    fitting = [field.name for field in schema if fits(field.type)]
    if len(fitting) == 1:
        return str(fitting[0])
    found = f"{len(fitting)} columns may be it ({', '.join(fitting)})" if fitting else f"it has {', '.join(schema.names)}"
    raise InputError(f"{file}: no {role} column found: {found}; set data.{role}_column")


def _field(schema: pa.Schema, column: str, role: str, file: Path) -> pa.Field:
    if schema.names.count(column) > 1:
        raise InputError(f"{file}: {schema.names.count(column)} columns are called {column!r}; keep one")
    if column not in schema.names:
        raise InputError(f"{file}: no column {column!r} (data.{role}_column); {closest(column, schema.names)}")
    return schema.field(column)
