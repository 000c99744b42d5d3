"""What the commands of ``hmdc`` share: the terminal's two streams, options that several take, and
how paths are shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from hmdc_ray.errors import InputError, RunError
from hmdc_ray.system.home import home
from hmdc_ray.system.signals import Interrupted

console = Console()
errors = Console(stderr=True)

Data = Annotated[str | None, typer.Option(help="'digits', a Parquet file, or a folder of them, such as 'hmdc prepare' writes.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster to use; without it, RAY_ADDRESS or a local one.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="section.field=value; may be repeated.")]


def shown(path: Path) -> str:
    """The path as a user would type it: relative when it lies in the current folder, else
    absolute."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def say(text: str) -> None:
    """Print a line as it is: no colours for numbers, no markup, no line breaks within an address or
    a path."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def report(text: str) -> None:
    """Print a line on the progress, dimmed; else as :func:`say`."""
    console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)


def fail(message: str, code: int, hint: str = "") -> NoReturn:
    """Print the message as one line on the standard error output, and a hint below it if there is
    one, and exit."""
    errors.print(f"[bold red]error:[/] {escape(' '.join(message.split()))}", highlight=False, soft_wrap=True)
    if hint:
        errors.print(hint, highlight=False, markup=False, soft_wrap=True)
    sys.exit(code)


def run_alone(command: Callable[..., None]) -> None:
    """Run a program of one command: bad input is one line and exit code 2, a failed run exit code
    1, a signal 128 and more."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command()(command)
    try:
        home()  # before libraries look for it
        app(standalone_mode=True)
    except Interrupted as stopped:
        fail(str(stopped), 128 + stopped.signal_number)
    except InputError as error:
        fail(str(error), 2)
    except RunError as error:
        fail(str(error), 1)
