"""Factories: functions that make an architecture, found by import path, with options checked
against their signature."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from hmdc_ray.errors import InputError, closest
from hmdc_ray.models.network import Architecture

Factory = Callable[..., Architecture | nn.Module]

VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def import_factory(path: str) -> Factory:
    """The function that an import path names; the working directory can be imported from.

    Args:
        path: import path, ``package.module:factory``.

    Raises:
        InputError: the path is malformed, the module cannot be imported, or has no such function.
    """
    module_name, _, name = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise InputError(f"{path!r} is not an import path: must be 'package.module:factory'")
    folder = str(Path.cwd())
    if folder not in sys.path:
        # Last, so that no file that happens to lie there hides an installed package.
        sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError) as error:
        raise InputError(f"module {module_name!r} cannot be imported ({error}): must be installed or in {folder}") from error
    factory: object = getattr(module, name, None)
    if factory is None:
        public = [known for known in vars(module) if not known.startswith("_")]
        raise InputError(f"module {module_name!r} has no {name!r}: {closest(name, public)}")
    if not callable(factory):
        raise InputError(f"{path!r} is a {type(factory).__name__}, must be a function (shape, classes, **options)")
    try:
        inspect.signature(factory).bind_partial(None, None)
    except TypeError as error:
        raise InputError(f"{path!r} does not take (shape, classes) as its first arguments ({error})") from error
    return factory


def option_parameters(factory: Factory) -> dict[str, inspect.Parameter]:
    """The options of a factory: its parameters after ``shape`` and ``classes``.

    Annotations are resolved, or stay text if they use names that exist for type checkers only.
    """
    try:
        signature = inspect.signature(factory, eval_str=True)
    except NameError:
        signature = inspect.signature(factory)
    return dict(list(signature.parameters.items())[2:])


def check_options(factory: Factory, options: Mapping[str, Any]) -> dict[str, Any]:
    """Compare options with the names, types and ranges in a factory's signature.

    Args:
        factory: function whose signature is the rule. A parameter with an annotation admits values
            of that type only (pydantic, strict: no conversion of text to numbers); one without, or
            with one that cannot be resolved, anything.
        options: names and plain values, as YAML gives them; a list will do for a tuple.

    Returns:
        The options to call the factory with.

    Raises:
        InputError: an unknown or missing option, or a value of the wrong type or range.
    """
    parameters = option_parameters(factory)
    named = {name: parameter for name, parameter in parameters.items() if parameter.kind not in VARIADIC}
    open_ended = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in options:
        if name not in named and not open_ended:
            raise InputError(f"unknown option {name!r}: {closest(name, named) if named else 'there are no options'}")
    for name, parameter in named.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            raise InputError(f"option {name!r} is missing: give it under 'options'")
    return {
        name: _check_value(name, value, named[name].annotation) if name in named else value for name, value in options.items()
    }


def _check_value(name: str, value: Any, annotation: Any) -> Any:
    if annotation is inspect.Parameter.empty or isinstance(annotation, str):
        return value
    adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    try:
        # Through JSON, so that the rules are strict but know nothing of Python's containers.
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].replace("Input ", "it ")
        raise InputError(f"option {name!r} is {value!r}: {reason}") from error
    except TypeError as error:
        raise InputError(f"option {name!r} is {value!r}: it should be a plain value, as in YAML") from error
