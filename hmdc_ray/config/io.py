"""Configurations in and out: YAML files, ``--set`` assignments, commented YAML, flat parameters."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from hmdc_ray.config import RunConfig, Section, default_name
from hmdc_ray.config.errors import dotted, explain, field_schema, quote, unknown_field
from hmdc_ray.errors import InputError, closest
from hmdc_ray.system.files import require_regular

Scalar = str | int | float | bool | None

# Files of a run's folder, named here because the command line needs them before it has imported
# torch.
CONFIG_FILE, METRICS_FILE, EVENTS_FILE = "config.yaml", "metrics.jsonl", "events.jsonl"
CONDENSED_FILE, IMAGES_FILE, EVALUATION_FILE = "condensed.parquet", "images.png", "evaluation.json"

MOST_NODES = 100_000
MOST_DEPTH = 100
LARGEST_NUMBER = 10**100
"""Limits on YAML, against files that are written to be endless."""

LOOKED_AT = 1000
"""Files of a folder that are looked at, at most, to guess what it holds."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, of which PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def get_single_node(self) -> yaml.Node | None:
        """The document, unless aliases make it endless, or it is too deep for what reads it
        later."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            size, depth = _measure(node, {})
            if size > MOST_NODES or depth > MOST_DEPTH:
                raise yaml.composer.ComposerError(None, None, "nested too deeply, or repeated too often", node.start_mark)
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int:
        value: int = super().construct_yaml_int(node)
        if abs(value) >= LARGEST_NUMBER:  # which Python would refuse to print
            raise yaml.constructor.ConstructorError(None, None, "a number is too large", node.start_mark)
        return value


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many nodes this is when aliases are written out, and how deep; a part of a circle counts
    once."""
    if id(node) not in known:
        known[id(node)] = (1, 1)
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
        sizes = [_measure(part, known) for part in parts]
        known[id(node)] = 1 + sum(size for size, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)
    return known[id(node)]


class _Dumper(yaml.SafeDumper):
    """Writes what :class:`_Loader` reads back, without anchors, and each text on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_text)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
# PyYAML takes 1e-3 for text; YAML 1.2, and everybody who writes a learning rate, for a number.
_EXPONENT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # derives from SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{where}{line}: {error.problem}: must be valid YAML") from None
    except (yaml.YAMLError, ValueError) as error:  # bytes outside of text; a date or number out of range
        raise InputError(f"{where}: {error}: must be valid YAML") from None
    except RecursionError:
        raise InputError(f"{where}: nested too deeply: must be valid YAML") from None


def parse_config(data: Mapping[str, Any], where: str) -> RunConfig:
    """Validate a configuration.

    Args:
        data: the configuration as plain values; what is left out takes its default.
        where: name of the source that was read, such as a file's; begins error messages.

    Raises:
        InputError: a field is wrong: one line with ``where``, the dotted field, its value, and what
            would be right.
    """
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise explain(error.errors(), where) from None
    except RecursionError:
        raise InputError(f"{where}: a part contains itself: must be valid YAML without a circle of references") from None


def load_config(path: Path) -> RunConfig:
    """Read a YAML file, or the ``config.yaml`` of a run's folder.

    Raises:
        InputError: the file is missing, unreadable, not UTF-8, not YAML, or not a valid
            configuration.
    """
    file = path / CONFIG_FILE if path.is_dir() else path
    require_regular(file)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        missing = f"{path} holds no {CONFIG_FILE}" if path.is_dir() else f"{path} does not exist"
        raise InputError(f"{missing}: give a YAML file or the folder of a run{_data_hint(path)}") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        reason = f"{file} is not text in UTF-8 (byte {error.start})"
        raise InputError(f"{reason}: give a YAML file{_data_hint(path)}") from None
    data = _parse_yaml(text, str(file))
    if data is None:
        raise InputError(f"{file} is empty: must hold a configuration, such as 'seed: 0'")
    if not isinstance(data, dict):
        raise InputError(f"{file} holds {quote(data)}: must hold keys and values, such as 'seed: 0'")
    return parse_config(data, str(file))


def _data_hint(path: Path) -> str:
    """What to do with images that were given in a configuration's place; empty where there are
    none."""
    suffixes = {path.suffix} | {found.suffix.lower() for found in islice(path.rglob("*"), LOOKED_AT)}
    if ".parquet" in suffixes:
        return f"; images are named with --data, as in: hmdc condense dc --data {shlex.quote(str(path))}"
    if {".png", ".jpg", ".jpeg", ".npz"} & suffixes:
        return f"; images are first made ready, as in: hmdc prepare {shlex.quote(str(path))} OUT, then named with --data OUT"
    return ""


def apply_overrides(config: RunConfig, assignments: Sequence[str]) -> RunConfig:
    """The configuration with some fields replaced, in order; all are checked together at the end.

    Args:
        config: configuration to start from, which stays as it is.
        assignments: texts ``section.field=value``. The value is YAML (``[flip, crop]``, ``null``,
            ``1e-3``). An element of a list goes by its index or, for networks, its name:
            ``pool.members.vit.learning_rate=0.1``.

    Raises:
        InputError: no such field, a value that does not fit, or no ``=``.
    """
    data = config.model_dump(mode="json")
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--set {assignment!r}: must be section.field=value, such as images.ipc=10")
        _assign(data, name.strip().split("."), text)
    return parse_config(data, "--set")


def _assign(data: dict[str, Any], keys: Sequence[str], text: str) -> None:
    container: Any = data
    path: list[str | int] = []
    for depth, key in enumerate(keys[:-1], 1):
        path.append(_locate(container, key, path))
        container = _child(container, path, keys[:depth])
    last = _locate(container, keys[-1], path)
    _require_known(last, path, keys)
    # A name that only repeats the architecture follows it.
    if last == "architecture" and container.get("name") == default_name(str(container.get(last))):
        container["name"] = ""
    container[last] = _value(text, field_schema([*path, last]))


def _locate(container: Any, key: str, path: Sequence[str | int]) -> str | int:
    """The key, or for an element of a list its index."""
    if isinstance(container, dict):
        return key
    if not isinstance(container, list):
        raise InputError(f"--set: {dotted([*path, key])}: {dotted(path)} is {quote(container)}, set it as a whole")
    names = [default_name(entry) if isinstance(entry, str) else _name(entry) for entry in container]
    if key.isdecimal() and int(key) < len(container):
        return int(key)
    if key in names:
        return names.index(key)
    named = f", or a name; {closest(key, filter(None, names))}" if any(names) else ""
    raise InputError(f"--set: {dotted([*path, key])}: {key!r} must be an index, 0 to {len(container) - 1}{named}")


def _name(entry: Any) -> str:
    return str(entry.get("name") or default_name(str(entry.get("architecture")))) if isinstance(entry, dict) else ""


def _child(container: Any, path: Sequence[str | int], written: Sequence[str]) -> Any:
    """The container at ``path``, whose parent is ``container``.

    What may be entered grows: free mappings, sections that are null or left out (with their
    defaults), and ``vit``, which stands for a network.
    """
    key, schema = path[-1], field_schema(path)
    _require_known(key, path[:-1], written)
    fields = schema.get("properties", {})
    value = container.get(key) if isinstance(container, dict) else container[key]
    if isinstance(value, str) and "architecture" in fields:
        container[key] = {"architecture": value}
    elif value is None and fields:
        container[key] = {name: deepcopy(field["default"]) for name, field in fields.items() if "default" in field}
    elif isinstance(container, dict) and key not in container:
        container[key] = {}
    return container[key]


def _require_known(key: str | int, section: Sequence[str | int], written: Sequence[str]) -> None:
    """Refuse a field that its section does not have; the message has the path as the user wrote
    it."""
    fields = field_schema(section).get("properties")
    if isinstance(key, str) and fields and key not in fields:
        raise InputError(f"--set: {unknown_field(written, fields)}")


def _value(text: str, schema: Mapping[str, Any]) -> Any:
    """The text as YAML; as it stands where text is wanted, so that ``name=2024`` needs no
    quotes."""
    value = _parse_yaml(text, f"--set: {text!r}")
    wants_text = schema.get("type") == "string" and "enum" not in schema
    if wants_text and not isinstance(value, str) and not (value is None and schema.get("nullable")):
        return text
    return value


def dump_config(config: RunConfig) -> str:
    """Plain YAML of every field, which :func:`load_config` reads back to an equal configuration."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31)


def flow(value: Any) -> str:
    """A plain value as YAML on one line, as ``--set`` takes it."""
    text = yaml.dump([value], Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=2**31)
    return text.strip()[1:-1]


def commented_yaml(config: RunConfig) -> str:
    """Complete YAML with each field's description above it; :func:`load_config` reads it back to an
    equal configuration."""
    lines = [*_comment(type(config).__doc__, ""), *_section_lines(config, "", comments=True)]
    return "\n".join(lines) + "\n"


def _comment(text: str | None, indent: str) -> list[str]:
    return textwrap.wrap(
        (text or "").replace("``", "'"), width=110, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
    )


def _section_lines(section: Section, indent: str, comments: bool) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from ["", *_comment(type(value).__doc__, indent), f"{indent}{name}:"]
            yield from _section_lines(value, f"{indent}  ", comments)
            continue
        if comments:
            yield from _comment(field.description, indent)
        if isinstance(value, tuple) and value and isinstance(value[0], Section):
            yield f"{indent}{name}:"
            for index, element in enumerate(value):  # the fields are explained once, at the first element
                yield from _element_lines(element, f"{indent}  ", comments and index == 0)
        else:
            yield f"{indent}{name}: {flow(list(value) if isinstance(value, tuple) else value)}"


def _element_lines(element: Section, indent: str, comments: bool) -> list[str]:
    """A section as an element of a list: its first field carries the dash."""
    lines = list(_section_lines(element, f"{indent}  ", comments))
    first = next(index for index, line in enumerate(lines) if not line.lstrip().startswith("#"))
    lines[first] = f"{indent}- {lines[first].lstrip()}"
    return lines


def flatten(config: RunConfig) -> dict[str, Scalar]:
    """Every field by its dotted path, as ``--set`` takes it, for tables and tracking.

    A list of plain values, and an empty list or mapping, is one entry: its YAML on one line.
    """
    return dict(_leaves(config.model_dump(mode="json"), ()))


def _leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str, Scalar]]:
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        items = list(enumerate(value))
    for key, entry in items:
        yield from _leaves(entry, (*path, key))
    if not items:
        yield dotted(path), flow(value) if isinstance(value, list | dict) else value
