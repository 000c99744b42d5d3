"""The commands ``hmdc presets`` and ``hmdc architectures``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from hmdc_ray.cli.console import console, say
from hmdc_ray.cli.tables import print_table
from hmdc_ray.config.io import commented_yaml, flow
from hmdc_ray.config.presets import PRESETS, describe, preset
from hmdc_ray.errors import InputError


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

            # As one text: rendered as a Syntax, lines wider than the terminal would be cut.
            console.print(Syntax("", "yaml", background_color="default").highlight(text), soft_wrap=True, end="")
        return
    if yaml:
        raise InputError("--yaml needs the name of a preset, such as: hmdc presets digits --yaml")
    listing = _listing("preset", "what it is")
    for known in PRESETS:
        listing.add_row(known, describe(known))
    print_table(console, listing)


def architectures() -> None:
    """List the networks that pools and evaluations can use, with their options."""
    from hmdc_ray.models import registered

    listing = _listing("architecture", "what it is", "options")
    for name, entry in registered().items():
        options = ", ".join(f"{option}={flow(default)}" for option, default in entry.options.items())
        listing.add_row(*map(Text, (name, entry.description, options)))
    print_table(console, listing)
    say("Any other: package.module:factory, with factory(shape, classes, **options); see docs/networks.md.")


def _listing(name: str, *texts: str) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column(name, no_wrap=True)
    for text in texts:
        table.add_column(text)
    return table
