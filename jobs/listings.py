"""The commands ``presets`` and ``architectures``: what there is."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.table import Table

from hmdc_ray.config.io import commented_yaml, flow
from hmdc_ray.errors import InputError
from hmdc_ray.presets import PRESETS, describe, preset
from jobs.console import console, say


def presets(
    name: Annotated[str | None, typer.Argument(help="Preset to show; without it, a list.")] = None,
    yaml: Annotated[bool, typer.Option("--yaml", help="Print the complete, commented configuration.")] = False,
) -> None:
    """List the presets, or print one as a complete configuration."""
    if name is not None:
        text = commented_yaml(preset(name))
        if yaml or not console.is_terminal:
            sys.stdout.write(text)
        else:
            from rich.syntax import Syntax

            console.print(Syntax(text, "yaml", background_color="default"))
        return
    if yaml:
        raise InputError("--yaml needs the name of a preset, such as: hmdc presets digits --yaml")
    listing = Table("preset", "what it is", box=None, header_style="bold")
    for known in PRESETS:
        listing.add_row(known, describe(known))
    console.print(listing)


def architectures() -> None:
    """List the networks that pools and evaluations can use, with their options."""
    from hmdc_ray.models import registered

    listing = Table("architecture", "what it is", "options", box=None, header_style="bold")
    for name, entry in registered().items():
        options = ", ".join(f"{option}={flow(default)}" for option, default in entry.options.items())
        listing.add_row(name, entry.description, options)
    console.print(listing)
    say("Any other: package.module:factory, with factory(shape, classes, **options); see the README.")
