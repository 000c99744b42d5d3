"""A step as a trace: every operator of every call, on a time axis in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch.profiler import profile

from hmdc_ray.config import RunConfig
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.profiling.one_process import run_first

SUFFIXES = (".json", ".json.gz")


def check_trace(file: Path) -> None:
    """Refuse a path to which no trace could be written, or from which none could be opened.

    Raises:
        InputError: the ending is not one that torch and browsers know, or the folder does not
            exist.
    """
    if not file.name.endswith(SUFFIXES):
        raise InputError(f"--trace is {str(file)!r}: must end in {' or '.join(SUFFIXES)}")
    if not file.absolute().parent.is_dir():
        raise InputError(f"--trace is {str(file)!r}: there is no folder {str(file.absolute().parent)!r}")


def write_trace(config: RunConfig, info: DatasetInfo, file: Path, report: Callable[[str], None]) -> None:
    """Record the first step of the pool in one process, in the format of Chrome's and Perfetto's
    viewers.

    Calls of members and server, such as ``worker convnet3: match``, hold the operators that they
    are made of.

    Args:
        config: the run.
        info: description of its data.
        file: path of the trace, checked by :func:`check_trace`; replaced once the new one is
            complete.
        report: callback that gets lines on the progress.
    """
    with profile() as recorded:
        run_first(config, info)
    unfinished = file.with_name(f".unfinished-{file.name}")
    recorded.export_chrome_trace(str(unfinished))
    unfinished.replace(file)
    report(f"trace of a step: {file}")
