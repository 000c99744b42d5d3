"""The command line ``hmdc``. Each command parses its arguments and calls one library function."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from hmdc_ray.config.io import apply_overrides, commented_yaml, load_config
from hmdc_ray.errors import InputError, RunError
from hmdc_ray.presets import PRESETS, describe, preset

app = typer.Typer(
    name="hmdc",
    help="Dataset condensation with a heterogeneous pool of networks, distributed on Ray.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
console = Console()
errors = Console(stderr=True)
_UsageError: Any = typer.BadParameter.__base__  # typer has its own copy of click's, or uses click itself

Data = Annotated[str | None, typer.Option(help="'digits', a Parquet file, or a folder of them.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster to use; without it, RAY_ADDRESS or a local one.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="section.field=value; may be repeated.")]


@app.command()
def condense(
    configuration: Annotated[str, typer.Argument(metavar="PRESET|FILE.yaml", help="Preset, YAML file, or folder of a run.")],
    data: Data = None,
    seed: Annotated[str | None, typer.Option(metavar="INTEGER", help="Seed of all random draws.")] = None,
    set_: Assignments = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the run; runs/NAME without it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in that folder.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in that folder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and show the plan, start nothing.")] = False,
    address: Address = None,
) -> None:
    """Learn synthetic images, evaluate them, and write a run's folder."""
    assignments = [*(set_ or [])]
    if data is not None:
        assignments.append(f"data.source={data}")
    if seed is not None:
        assignments.append(f"seed={seed}")
    config = apply_overrides(_configuration(configuration), assignments)
    folder = output or Path("runs") / config.name
    if dry_run:
        from jobs.dry_run import show_plan

        show_plan(config, folder, console)
        return
    from hmdc_ray.interrupt import Interrupted
    from hmdc_ray.run import condense as run
    from hmdc_ray.terminal import TerminalProgress

    try:
        with TerminalProgress(console) as progress:
            summary = run(config, folder, resume=resume, overwrite=overwrite, address=address, progress=progress)
    except Interrupted as stopped:
        again = sys.argv[1:]
        if stopped.resumable:
            again = [word for word in again if word not in ("--overwrite", "--resume")] + ["--resume"]
        errors.print(
            f"{stopped}. {'Go on' if stopped.resumable else 'Start again'} with:\n  hmdc {' '.join(map(_quoted, again))}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(128 + stopped.signal_number) from None
    console.print(f"images      {_shown(summary.folder / 'images.png')}", highlight=False, soft_wrap=True)
    console.print(f"data set    {_shown(summary.folder / 'condensed.parquet')}", highlight=False, soft_wrap=True)
    console.print(f"accuracies  {_shown(summary.folder / 'evaluation.json')}", highlight=False, soft_wrap=True)
    if summary.tracking:
        console.print(f"MLflow      {summary.tracking}", highlight=False, soft_wrap=True)


@app.command()
def evaluate(
    images: Annotated[Path, typer.Argument(metavar="DIR|FILE.parquet", help="Folder of a run, or its condensed.parquet.")],
    data: Data = None,
    protocol: Annotated[str | None, typer.Option(help="Training recipe of the students: dc.")] = None,
    architectures: Annotated[str | None, typer.Option(help="Comma-separated students; without it, the run's own.")] = None,
    seeds: Annotated[str | None, typer.Option(metavar="INTEGER", help="Networks per architecture.")] = None,
    baselines: Annotated[str | None, typer.Option(help="Real images to compare with: none, random, kmeans, both.")] = None,
    set_: Assignments = None,
    output: Annotated[Path | None, typer.Option(help="Also write the numbers to this JSON file.")] = None,
    address: Address = None,
) -> None:
    """Train networks on condensed images and compare with real images of the same number."""
    from hmdc_ray.condensed import load_condensed
    from hmdc_ray.evaluation.request import evaluation_config
    from hmdc_ray.interrupt import Interrupted
    from hmdc_ray.run import evaluate as run
    from hmdc_ray.terminal import TerminalProgress

    condensed = load_condensed(images)
    config = evaluation_config(condensed, data=data, architectures=architectures, assignments=set_ or [])
    wanted = {"protocol": protocol, "seeds": seeds, "baselines": baselines}
    config = apply_overrides(config, [f"evaluation.{name}={value}" for name, value in wanted.items() if value is not None])
    try:
        with TerminalProgress(console) as progress:
            result = run(condensed, config, address=address, progress=progress)
    except Interrupted as stopped:
        errors.print(f"{stopped}", highlight=False)
        raise typer.Exit(128 + stopped.signal_number) from None
    if output is not None:
        result.write(output)
        console.print(f"accuracies  {_shown(output)}", highlight=False, soft_wrap=True)


@app.command()
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


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(help="Image folder, .npz file, or torchvision:NAME.")],
    out: Annotated[Path, typer.Argument(help="Folder for the Parquet files.")],
    root: Annotated[Path | None, typer.Option(help="Where torchvision keeps or puts its files.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
) -> None:
    """Write any images as Parquet files that 'hmdc condense --data' reads."""
    from hmdc_ray.data.sources import prepare as run

    options: dict[str, Any] = {} if root is None else {"root": root}
    sizes = run(source, out, overwrite=overwrite, **options)
    console.print(f"{out}: {sizes}", highlight=False, soft_wrap=True)


@app.command()
def architectures() -> None:
    """List the networks that pools and evaluations can use, with their options."""
    from hmdc_ray.models import registered

    listing = Table("architecture", "what it is", "options", box=None, header_style="bold")
    for name, entry in registered().items():
        options = ", ".join(f"{option}={default}" for option, default in entry.options.items())
        listing.add_row(name, entry.description, options)
    console.print(listing)
    console.print(
        "Any other: package.module:factory, with factory(shape, classes, **options); see the README.", highlight=False
    )


def main() -> None:
    """Run the command line. Bad input is one line on the standard error output and exit code 2; a failed run, exit code 1."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        sys.exit(app(standalone_mode=False))
    except _UsageError as error:
        command = f"'{error.ctx.command_path} --help'" if error.ctx else "--help"
        _fail(f"{error.format_message().rstrip('.')}; see {command}", 2)
    except InputError as error:
        _fail(str(error), 2)
    except RunError as error:
        _fail(str(error), 1)


def _fail(message: str, code: int) -> NoReturn:
    errors.print(f"[bold red]error:[/] {_escaped(' '.join(message.split()))}", highlight=False, soft_wrap=True)
    sys.exit(code)


def _configuration(text: str) -> Any:
    looks_like_path = text.endswith((".yaml", ".yml")) or os.sep in text or Path(text).is_dir()
    return load_config(Path(text)) if looks_like_path and text not in PRESETS else preset(text)


def _shown(path: Path) -> str:
    path = path.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
