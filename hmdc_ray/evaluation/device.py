"""What students' last bits depend on beside their seed: the device, the number format of a GPU, and
torch's thread count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hmdc_ray.config import RunConfig
from hmdc_ray.config.base import AUTO
from hmdc_ray.models.precision import GpuFormat, gpu_format, set_gpu_format


def student_device(config: RunConfig) -> str:
    """``cuda`` where students may have GPUs and this process has one, else ``cpu``.

    With ``cuda`` the process is set to multiply as the pool's members do, by
    ``matching.precision``.
    """
    if config.evaluation.num_gpus == 0 or not torch.cuda.is_available():
        return "cpu"
    set_gpu_format(config.matching.precision)
    return "cuda"


def student_format(config: RunConfig) -> GpuFormat | None:
    """Number format in which the students' GPUs multiply, for the record; None: they are trained on
    CPUs."""
    return gpu_format(config.matching.precision) if on_gpus(config) else None


def on_gpus(config: RunConfig) -> bool:
    """Whether students are trained on GPUs; with ``auto``, whether this process has one."""
    return torch.cuda.is_available() if config.evaluation.num_gpus == AUTO else config.evaluation.num_gpus > 0


def student_threads(config: RunConfig) -> int:
    """Torch threads of a student's training: one where the configuration still says ``auto``."""
    return 1 if config.evaluation.threads == AUTO else config.evaluation.threads


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Run a block with ``threads`` torch threads, at least 1, on which the order of a sum depends;
    restores the count."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
