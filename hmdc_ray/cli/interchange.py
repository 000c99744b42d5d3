"""The commands ``hmdc import`` and ``hmdc export``: condensed sets from other codes, and for
them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hmdc_ray.cli.console import say, shown
from hmdc_ray.interchange.catalogue import EXPORTS, MEANINGS

_IMPORTS = "\n\n".join(f"{name}: {meaning}." for name, meaning in MEANINGS.items())


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File, or folder, of another code.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="NAME.parquet, or a folder for condensed.parquet.")],
    format_: Annotated[str, typer.Option("--format", help=f"What the file is. {_IMPORTS}")],
    statistics: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|MEAN,..:STD,..",
            help="Mean and deviation per channel of the data set: cifar10, cifar100, mnist, fashionmnist, svhn, or numbers for "
            "pixels 0 to 1. HMDC's code uses those of cifar10 for CIFAR-100.",
        ),
    ] = None,
    formation: Annotated[
        int | None, typer.Option(metavar="F", help="A stored image holds F x F training images; where the file does not say.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="Labels, .pt or .npy, where the file has none.")] = None,
    snapshot: Annotated[
        int | None, typer.Option(metavar="N", help="Which set of a file of format dc, from 0; negative from the end.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(metavar="normalised|pixel", help="Scale of the values, where the format leaves it open.")
    ] = None,
    class_names: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,..", help="Names of all classes, in the order of the labels; else 0, 1, 2, .. up to the highest label."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
) -> None:
    """Write condensed images of another code as condensed.parquet; nothing in FILE is executed."""
    from hmdc_ray.interchange.declared import ImportOptions, parse_statistics
    from hmdc_ray.interchange.formats import import_file

    stated = ImportOptions(
        statistics=None if statistics is None else parse_statistics(statistics),
        scale=scale,
        formation=formation,
        labels=labels,
        snapshot=snapshot,
        class_names=None if class_names is None else tuple(name.strip() for name in class_names.split(",")),
    )
    target, imported = import_file(file, out, format_, stated, overwrite=overwrite)
    say(imported.assumed)
    say(f"data set    {shown(target)}")


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or its condensed.parquet.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; a folder for dd-ranking and image-folder.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help=f"One of {', '.join(EXPORTS)}. dd-ranking holds decoded images, the others stored ones, with f beside; "
            "image-folder is rounded to 8 bits, the others are exact.",
        ),
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
) -> None:
    """Write condensed images in a format that other codes read."""
    from hmdc_ray.condensed import load_condensed
    from hmdc_ray.interchange.formats import export_set

    export_set(load_condensed(run), out, format_, overwrite=overwrite)
    say(f"{format_}    {shown(out)}")
