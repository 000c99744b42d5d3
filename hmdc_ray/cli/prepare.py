"""The command ``hmdc prepare``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hmdc_ray.cli.console import console, say, shown


def prepare(
    source: Annotated[str, typer.Argument(help="Image folder, .npz or .pt file, or torchvision:NAME.")],
    out: Annotated[Path, typer.Argument(help="Folder for the Parquet files.")],
    root: Annotated[Path | None, typer.Option(help="Where torchvision keeps or puts its files.")] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out images that cannot be decoded; they are counted and listed.")
    ] = False,
    scale_16_bit: Annotated[
        bool, typer.Option("--scale-16-bit", help="Bring grey images of 16 bits to 8: 0 to 65,535 become 0 to 255.")
    ] = False,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Read what links out of the image folder lead to.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
) -> None:
    """Write any images as Parquet files for 'hmdc condense --data'; every image is decoded once."""
    from hmdc_ray.cli.terminal import TerminalProgress
    from hmdc_ray.data.description import span, with_number
    from hmdc_ray.data.image_folder import ReadingRules
    from hmdc_ray.data.sources import prepare as run

    rules = ReadingRules(skip_broken, scale_16_bit, follow_links)
    with TerminalProgress(console) as progress:
        progress.stage("reading images")
        done = run(source, out, root=root, rules=rules, overwrite=overwrite, progress=progress.images_decoded)
    say(f"classes     {with_number(done.class_names)}")
    for split, counts in done.counts.items():
        say(f"{split:<12}{sum(counts):,} images, {span(done.class_names, counts)}")
    for note in done.notes:
        say(f"{'note':<12}{note}")
    say(f"folder      {shown(out.expanduser())}")
    say(f"next        hmdc condense PRESET --data {shlex.quote(shown(out.expanduser()))} --dry-run")
