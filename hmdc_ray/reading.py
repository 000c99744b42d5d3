"""Reading a command's data, with progress, until a signal asks to stop."""

from __future__ import annotations

from dataclasses import replace

from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.interrupt import StopRequest
from hmdc_ray.progress import ReadingProgress


def read_info(config: RunConfig, progress: ReadingProgress, stop: StopRequest, *, normalises: bool = True) -> DatasetInfo:
    """Decode the data if no run before has, and say what it is.

    Args:
        config: whose data is read.
        progress: is told of every part.
        stop: asked between images, and while another process decodes them.
        normalises: whether the command goes by the data's statistics, on which there may be a line.

    Raises:
        InputError: see :func:`hmdc_ray.data.dataset.open_dataset`.
        Interrupted: the process was asked to stop.
    """

    def decoded(done: int, total: int) -> None:
        progress.images_decoded(done, total)
        stop.raise_if_requested()

    progress.stage("reading data")
    info = open_dataset(config.data, decoded, stop.raise_if_requested).info
    progress.data(info if normalises else replace(info, statistics_note=None))
    return info
