"""The command line ``hmdc``. Each command, in a module of its own, parses its arguments and calls
one library function."""

from __future__ import annotations

import sys
from typing import Any

import typer

from hmdc_ray.cli.condense import condense
from hmdc_ray.cli.configuration import resuming
from hmdc_ray.cli.console import fail
from hmdc_ray.cli.evaluate import evaluate
from hmdc_ray.cli.interchange import export, import_
from hmdc_ray.cli.listings import architectures, presets
from hmdc_ray.cli.plan import plan
from hmdc_ray.cli.prepare import prepare
from hmdc_ray.cli.pretrain import pretrain
from hmdc_ray.cli.status import status
from hmdc_ray.cli.sync_tracking import sync_tracking
from hmdc_ray.cli.tune import tune
from hmdc_ray.errors import InputError, RunError, is_resumable
from hmdc_ray.system.home import home

app = typer.Typer(
    name="hmdc",
    help="Dataset condensation with a heterogeneous pool of networks, distributed on Ray.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
_UsageError: Any = typer.BadParameter.__base__  # typer has its own copy of click's, or uses click itself

for command in (condense, evaluate, tune, pretrain, plan, presets, prepare, architectures):
    app.command()(command)
app.command("import")(import_)
app.command()(export)
app.command()(status)
app.command()(sync_tracking)


def main() -> None:
    """Run the command line. Bad input is one line on the standard error output and exit code 2; a
    failed run, exit code 1; after it the command that resumes a run that has begun."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        home()  # before libraries look for it
        sys.exit(app(standalone_mode=False))
    except _UsageError as error:
        command = f"'{error.ctx.command_path} --help'" if error.ctx else "--help"
        fail(f"{error.format_message().rstrip('.')}; see {command}", 2)
    except (InputError, RunError) as error:
        fail(str(error), 2 if isinstance(error, InputError) else 1, _hint(error))
    except Exception as error:
        if hint := _hint(error):
            error.add_note(hint)
        raise


def _hint(error: Exception) -> str:
    """How to resume what the error has ended; empty where nothing can be resumed."""
    return f"When that is mended, resume with:\n  {resuming()}" if is_resumable(error) else ""


if __name__ == "__main__":
    main()
