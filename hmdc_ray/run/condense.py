"""The command ``condense``: a configuration and a folder checked, then one
:class:`hmdc_ray.run.execution.Run` in it."""

from __future__ import annotations

from pathlib import Path

from hmdc_ray.config import RunConfig
from hmdc_ray.run.absolute_paths import with_absolute_paths
from hmdc_ray.run.execution import Run, RunSummary
from hmdc_ray.run.folder import RunFolder
from hmdc_ray.run.progress import Progress, Silent, load_dataset_info
from hmdc_ray.run.resume import require_unused, resume_from
from hmdc_ray.run.tracking import check_tracking
from hmdc_ray.run.validate import validate
from hmdc_ray.server.initial_set import require_apart
from hmdc_ray.server.storage import require_writable
from hmdc_ray.system.signals import stop_on_signals


def condense(
    config: RunConfig,
    output: Path | str | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    address: str | None = None,
    progress: Progress | None = None,
) -> RunSummary:
    """Learn condensed images, evaluate them, and write everything into the run's folder.

    Args:
        config: the run.
        output: the run's folder; ``runs/<name>`` if not given.
        resume: whether to resume from the folder's last checkpoint; the images are those of a run
            that was never stopped.
        overwrite: whether to replace the run that the folder holds.
        address: address of a Ray cluster; a local one is started if there is none.
        progress: receiver of the run's progress.

    Raises:
        InputError: configuration, data, folder, checkpoint, cluster or tracking server are not
            usable.
        Interrupted: SIGINT or SIGTERM came; after the start a checkpoint is saved, and the run can
            be resumed.
    """
    progress = progress or Silent()
    config = with_absolute_paths(config)
    path = Path(output or Path("runs") / config.name).absolute()
    with stop_on_signals() as stop:
        info = load_dataset_info(config, progress, stop)
        validate(config, info)
        require_apart(config.images, path)
        folder = RunFolder.claim(path, overwrite=overwrite, resume=resume)
        try:
            if config.schedule.checkpoint_uri is not None:
                require_writable(config.schedule.checkpoint_uri, path, "schedule.checkpoint_uri", stop.raise_if_requested)
            start = None
            if resume:
                start, config = resume_from(path, config, info)
            if not resume and not overwrite:
                require_unused(path, config)
            check_tracking(config.tracking, path)
            return Run(config, info, folder, start, progress, stop).execute(address)
        finally:
            folder.release()
