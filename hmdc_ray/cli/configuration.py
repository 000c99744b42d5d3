"""What commands that start a run share: its configuration, and how to resume one that was
stopped."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from hmdc_ray.cli.console import errors, say
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import apply_overrides, load_config
from hmdc_ray.config.presets import PRESETS, preset
from hmdc_ray.system.signals import Interrupted


def read_configuration(text: str, assignments: Sequence[str] | None, fields: Mapping[str, str | None]) -> RunConfig:
    """The preset, or the file, with the fields replaced; a preset may have another schedule for
    other images per class.

    Says so where this means the built-in digits and nobody has named them.

    Args:
        text: name of the preset, path of the file, or folder of a run.
        assignments: values of ``--set``.
        fields: values of options by the fields that they set; None where an option was not given.
    """
    assignments = [*(assignments or []), *(f"{field}={value}" for field, value in fields.items() if value is not None)]
    config = _read(text, assignments)
    named = any(assignment.partition("=")[0].strip() in ("data", "data.source") for assignment in assignments)
    if config.data.source == "digits" and not named and text != "digits":
        say("data        the built-in digits (1,797 images of 16x16); give --data for yours")
    return config


def _read(text: str, assignments: list[str]) -> RunConfig:
    if text not in PRESETS and (text.endswith((".yaml", ".yml")) or os.sep in text or Path(text).exists()):
        return apply_overrides(load_config(Path(text)), assignments)
    ipc = apply_overrides(preset(text), assignments).images.ipc
    return apply_overrides(preset(text, ipc=ipc), assignments)


@contextmanager
def telling_how_to_resume(position: Callable[[], str]) -> Iterator[None]:
    """Where a signal stops the block: print where it was, and the command that resumes it or starts
    it again, and exit."""
    try:
        yield
    except Interrupted as stopped:
        again = (
            f"Resume with:\n  {resuming()}" if stopped.resumable else f"Start again with:\n  hmdc {shlex.join(sys.argv[1:])}"
        )
        errors.print(f"{stopped} {position()}. {again}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(128 + stopped.signal_number) from None


def resuming() -> str:
    """The command that resumes what this process was told to do."""
    return f"hmdc {shlex.join([*(word for word in sys.argv[1:] if word not in ('--overwrite', '--resume')), '--resume'])}"
