"""What a configuration field may hold, and one line for the user when it holds something else.

Both come from the JSON schema of :class:`hmdc_ray.config.RunConfig`, so types and ranges are
written down once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from pydantic_core import ErrorDetails

from hmdc_ray.config import RunConfig
from hmdc_ray.config.base import AUTO
from hmdc_ray.errors import InputError, closest

FieldPath = Sequence[str | int]
Schema = dict[str, Any]


@cache
def _root() -> Schema:
    return RunConfig.model_json_schema()


def _resolved(schema: Schema) -> Schema:
    """The schema with references followed, ``X | None`` turned into X with the mark ``nullable``,
    and ``X | Auto`` into X with the mark ``auto``."""
    if "anyOf" in schema:
        special = {"nullable": {"type": "null"}, AUTO: {"const": AUTO, "type": "string"}}
        (option,) = (option for option in schema["anyOf"] if option not in special.values())
        marks = {mark: True for mark, form in special.items() if form in schema["anyOf"]}
        schema = {**schema, **option, **marks}
    if "const" in schema:  # a choice of one
        schema = {**schema, "enum": [schema["const"]]}
    if "$ref" in schema:
        schema = {**_root()["$defs"][schema["$ref"].rpartition("/")[2]], **schema}
    return schema


def field_schema(path: FieldPath) -> Schema:
    """JSON schema of the field at ``path``, such as ``("images", "ipc")``; empty where anything may
    stand."""
    schema = _root()
    for key in path:
        if isinstance(key, str):
            others = schema.get("additionalProperties")
            schema = schema.get("properties", {}).get(key) or (others if isinstance(others, dict) else {})
        elif "prefixItems" in schema:
            schema = dict(enumerate(schema["prefixItems"])).get(key, {})
        else:
            schema = schema.get("items", {})
        schema = _resolved(schema)
    return schema


def dotted(path: FieldPath) -> str:
    """The path as users write it: ``images.ipc``, ``pool.members.0.name``."""
    return ".".join(map(str, path))


def quote(value: Any) -> str:
    """The value as a user would recognise it, in at most 80 characters."""
    text = {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def unknown_field(path: FieldPath, fields: Collection[str]) -> str:
    """A sentence for a field that its section does not have.

    Args:
        path: path to the field, as the user wrote it.
        fields: names of the section's fields.
    """
    key = str(path[-1])
    hint = closest(key, fields)
    if "options" in fields and not hint.startswith("did you mean"):  # a network, whose own options are one level below
        hint = f"did you mean {dotted([*path[:-1], 'options', key])!r}?"
    return f"{dotted(path)} is not a known field: {hint}"


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    bounds = {
        "at least": low,
        "more than": schema.get("exclusiveMinimum"),
        "at most": high,
        "less than": schema.get("exclusiveMaximum"),
    }
    words = [f"{word} {bound}" for word, bound in bounds.items() if bound is not None]
    return f", {' and '.join(words)}" if words else ""


def _allowed(schema: Schema) -> str:
    """What the field may hold, in words that follow 'must be'; empty when anything goes."""
    if "enum" in schema:
        words = f"{'one of ' if len(schema['enum']) > 1 else ''}{', '.join(map(str, schema['enum']))}"
    elif schema.get("type") == "array":
        lengths = {schema.get("minItems"), schema.get("maxItems")}
        count = f" of {lengths.pop()} values" if len(lengths) == 1 and lengths != {None} else ""
        item = _allowed(_resolved(schema["prefixItems"][0] if "prefixItems" in schema else schema.get("items", {})))
        words = f"a list{count}{', not empty' if schema.get('minItems') == 1 else ''}{item and f', each {item}'}"
    elif "properties" in schema:
        words = f"a section with keys among {', '.join(schema['properties'])}"
    else:
        kinds = {
            "integer": "a whole number",
            "number": "a number",
            "string": "text",
            "boolean": "true or false",
            "object": "a mapping from names to values",
        }
        words = kinds.get(schema.get("type", ""), "") + _range(schema) + (", not empty" if schema.get("minLength") else "")
    return words + (", or null" if schema.get("nullable") else "") + (", or auto" if schema.get(AUTO) else "")


def _hint(value: Any, schema: Schema) -> str:
    """What a user who wrote ``value`` probably meant; empty when there is nothing to add."""
    choices = [choice for choice in schema.get("enum", []) if isinstance(choice, str)]
    if value is False and "none" in choices:
        return "; use none to switch it off (YAML reads off and no as false)"
    if isinstance(value, str) and choices:
        if value.lower() in ("off", "false", "no") and "none" in choices:
            return "; use none to switch it off"
        guess = closest(value, choices)
        return f"; {guess}" if guess.startswith("did you mean") else ""
    if schema.get("type") == "string" and not choices and isinstance(value, int | float):
        return "; put it in quotes"
    return ""


def _sentence(error: ErrorDetails) -> str:
    path, value = error["loc"], error["input"]
    if error["type"] == "missing" and isinstance(path[-1], int):  # a list that is too short: the fault is the list's
        path = path[:-1]
    if path and path[-1] == "[key]":
        path = path[:-1]
    name, schema = dotted(path), field_schema(path)
    match error["type"]:
        case "extra_forbidden":
            return unknown_field(path, field_schema(path[:-1])["properties"])
        case "missing":
            if path == error["loc"]:
                description = schema["description"].rstrip(".")
                return f"{name} is missing: must be {description[0].lower()}{description[1:]}"
        case "invalid_key":
            return f"{name} is not a known field: names are text"
        case "value_error":
            reason = str(error["ctx"]["error"])
            quoted = "properties" in schema or reason.startswith(str(path[-1]))  # the validator has named the value itself
            return f"{name}: {reason}" if quoted else f"{name} is {quote(value)}: {reason}"
        case "string_pattern_mismatch":
            return f"{name} is {quote(value)}: {schema['description']}"
        case "string_type" if error["loc"][-1] == "[key]":
            return f"{name}: the key {quote(value)} must be text; put it in quotes"
    expected = _allowed(schema)
    return f"{name} is {quote(value)}: " + (f"must be {expected}{_hint(value, schema)}" if expected else error["msg"])


def explain(errors: Sequence[ErrorDetails], where: str) -> InputError:
    """One line for the first of pydantic's errors.

    Args:
        errors: ``ValidationError.errors()`` of a :class:`RunConfig`, not empty.
        where: name of the source that was read, such as a file's; begins the line.

    Returns:
        The error to raise: names the field, quotes the value, says what is right, and counts the
            other errors.
    """
    errors = _without_branches(errors)
    paths = [error["loc"] for error in errors]
    # A list with a bad element is also reported as too short: one fault, counted once.
    faults = [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(len(path) > len(error["loc"]) and path[: len(error["loc"])] == error["loc"] for path in paths)
    ]
    others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return InputError(f"{where}: {_sentence(faults[0])}{others}")


def _without_branches(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """The errors, one instead of two for a field that may be ``auto`` and is neither that nor its
    other form: pydantic names both at the end of the path."""
    found: dict[FieldPath, ErrorDetails] = {}
    for position, error in enumerate(errors):
        path = error["loc"]
        if path and field_schema(path[:-1]).get(AUTO):
            found.setdefault(path[:-1], {**error, "loc": path[:-1]})
        else:
            found[(*path, position)] = error
    return list(found.values())
