"""Search spaces by name, checked before anything is started; see :mod:`tune_spaces` for what a
space is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ray.tune.search.sample import Domain

import tune_spaces
from hmdc_ray.actors.session import import_from
from hmdc_ray.config import RunConfig
from hmdc_ray.config.errors import field_schema, unknown_field
from hmdc_ray.errors import InputError, closest

SCALARS = ("integer", "number", "string", "boolean")

TRIED_DRAWS = 3
"""How many draws of a space are tried before a search starts."""


def known_spaces() -> tuple[str, ...]:
    """Names of the spaces that come with the package."""
    modules = (importlib.import_module(f"tune_spaces.{module.name}") for module in pkgutil.iter_modules(tune_spaces.__path__))
    return tuple(module.__name__.rpartition(".")[2] for module in modules if _is_space(module))


@dataclass(frozen=True)
class SearchSpace:
    """A space for one base configuration.

    Attributes:
        name: name or import path of the space, as the user wrote it.
        base: configuration that draws change.
        module: the space's module.
        domains: Ray Tune domains by dotted path.
    """

    name: str
    base: RunConfig
    module: ModuleType
    domains: Mapping[str, Domain]

    def apply(self, sample: Mapping[str, Any]) -> RunConfig:
        """The configuration of a draw, with evaluation on validation data whatever base and space
        say.

        Raises:
            InputError: the space gives no valid configuration.
        """
        try:
            config = self.module.apply(self.base, sample)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"space {self.name!r}: apply(base, sample) fails on {dict(sample)!r} ({type(error).__name__}: {error}): "
                "must give a configuration for every draw"
            ) from error
        if not isinstance(config, RunConfig):
            raise InputError(f"space {self.name!r}: apply(base, sample) gives {config!r}: must be a RunConfig")
        evaluation = config.evaluation.model_copy(update={"split": "validation"})
        return config.model_copy(update={"evaluation": evaluation, "tracking": self.base.tracking})


def open_space(name: str, base: RunConfig) -> SearchSpace:
    """Import a space and check it: its paths exist, and its draws are valid.

    Args:
        name: name of a module in :mod:`tune_spaces`, or the import path of another.
        base: configuration that draws change.

    Raises:
        InputError: there is no such space, it has no domains, a path is not a field, or a draw is
            not valid.
    """
    module = _module(name)
    domains = module.space(base) if inspect.signature(module.space).parameters else module.space()
    if not isinstance(domains, Mapping) or not domains:
        raise InputError(f"space {name!r}: space() gives {domains!r} for this configuration: must give at least one domain")
    for path, domain in domains.items():
        _require_known(name, path, base)
        if not isinstance(domain, Domain):
            raise InputError(f"space {name!r}: {path} is {domain!r}: must be a domain of Ray Tune, such as tune.uniform(0, 1)")
    found = SearchSpace(name, base, module, dict(domains))
    for seed in range(TRIED_DRAWS):
        found.apply({path: domain.sample(random_state=seed) for path, domain in domains.items()})
    return found


def _module(name: str) -> ModuleType:
    known = known_spaces()
    import_from(str(Path.cwd()))  # the user's own spaces may be there
    path = f"tune_spaces.{name}" if name in known else name
    try:
        module = importlib.import_module(path)
    except ImportError as error:
        if "." not in name:
            hint = f"{closest(name, known)}, or give an import path"
            raise InputError(f"space {name!r} does not exist ({error}): {hint}") from None
        raise InputError(f"space {name!r} cannot be imported ({error}): must be the import path of a module") from error
    if not _is_space(module):
        raise InputError(f"space {name!r} is no space: its module needs the functions space(base) and apply(base, sample)")
    return module


def _is_space(module: ModuleType) -> bool:
    return callable(getattr(module, "space", None)) and callable(getattr(module, "apply", None))


def _require_known(space: str, path: object, base: RunConfig) -> None:
    """Refuse a path that leads to no field of the configuration; members and students go by name or
    position."""
    container: Any = base.model_dump(mode="json")
    keys: list[str | int] = []
    words = str(path).split(".")
    for depth, word in enumerate(words, start=1):
        start = f"space {space!r}: "
        schema = field_schema(keys)
        if isinstance(container, list):
            names = [str(entry.get("name", "")) if isinstance(entry, dict) else "" for entry in container]
            if word not in names and not (word.isdecimal() and int(word) < len(container)):
                raise InputError(f"{start}{'.'.join(words[:depth])} does not exist: {closest(word, filter(None, names))}")
            place = names.index(word) if word in names else int(word)
            keys.append(place)
            container = container[place]
            continue
        fields = schema.get("properties", {})
        if schema.get("type") in SCALARS:
            raise InputError(f"{start}{path} is not a known field: {'.'.join(words[: depth - 1])} has no fields")
        if fields and word not in fields:
            raise InputError(f"{start}{unknown_field(words[:depth], fields)}")
        keys.append(word)
        container = container.get(word) if isinstance(container, dict) else None
