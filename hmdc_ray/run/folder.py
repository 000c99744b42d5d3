"""The folder of a run: claimed by one process, and cleared of an earlier run's files and nothing
else."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from filelock import BaseFileLock

from hmdc_ray.config.io import CONDENSED_FILE, CONFIG_FILE, EVALUATION_FILE, EVENTS_FILE, IMAGES_FILE, METRICS_FILE
from hmdc_ray.errors import InputError
from hmdc_ray.system.files import TEMPORARY_PREFIX, named_errors
from hmdc_ray.system.locks import LOCK_FILE, lock_for_life

RUN_FILES = (  # what a run writes in its folder; the configuration, which marks the folder as a run's, last
    *(CONDENSED_FILE, IMAGES_FILE, "gradients.png", "matrix.png", "gains.png", EVALUATION_FILE, METRICS_FILE, EVENTS_FILE),
    *("tracking", "checkpoint", CONFIG_FILE),
)


class RunFolder:
    """A run's folder, claimed by this process.

    The claim is a lock on the file ``.lock``, kept until :meth:`release` or the end of the process:
    a process that is killed leaves the folder free.

    Attributes:
        path: the folder, which exists.
    """

    def __init__(self, path: Path, lock: BaseFileLock) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def claim(cls, path: Path, overwrite: bool = False, resume: bool = False) -> RunFolder:
        """Claim a folder for a run, and create it where there is none. An earlier run's files stay
        until :meth:`clear`.

        Args:
            path: the folder.
            overwrite: whether the run that it holds may be replaced.
            resume: whether the run that it holds is resumed.

        Raises:
            InputError: another process uses the folder; it holds files and neither flag is given;
                there is no run to resume; files would be overwritten in a folder that is not a
                run's; it cannot be made or locked.
        """
        cls.check(path, overwrite, resume)  # before anything is made: a refused folder stays as it was
        with named_errors(path, "made"):
            path.mkdir(parents=True, exist_ok=True)
        folder = cls(path, lock_for_life(path))
        try:
            _require_usable(path, overwrite, resume)
            with named_errors(path, "cleared"):
                _remove(path, [TEMPORARY_PREFIX + "*"])
        except BaseException:
            folder.release()
            raise
        return folder

    @staticmethod
    def check(path: Path, overwrite: bool, resume: bool) -> None:
        """Refuse a folder that :meth:`claim` would refuse, as far as that can be known without
        creating anything.

        Raises:
            InputError: the error of :meth:`claim`.
        """
        if overwrite and resume:
            raise InputError("--overwrite and --resume contradict each other: use one of them")
        if not (path / LOCK_FILE).exists():
            _require_usable(path, overwrite, resume)

    @property
    def holds_run(self) -> bool:
        """Whether there are files that :meth:`clear` would remove."""
        return any(True for pattern in RUN_FILES for _ in self.path.glob(pattern))

    def clear(self) -> None:
        """Remove the files of the run that the folder holds (:data:`RUN_FILES`, nothing else).

        Raises:
            InputError: a file cannot be removed.
        """
        with named_errors(self.path, "cleared"):
            _remove(self.path, RUN_FILES)

    def release(self) -> None:
        """Let others claim the folder; harmless when repeated."""
        self._lock.release()


def _require_usable(path: Path, overwrite: bool, resume: bool) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file: --output must be a folder")
    with named_errors(path, "read"):
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    names = {name for name in names if name != LOCK_FILE and not name.startswith(TEMPORARY_PREFIX)}
    holds_run = CONFIG_FILE in names
    if resume:
        if not holds_run:
            raise InputError(f"{path} holds no run (no config.yaml), nothing to resume: leave out --resume, or name its folder")
    elif overwrite:
        foreign = sorted(names - set(RUN_FILES))
        if foreign and not holds_run:
            raise InputError(
                f"{path} holds {foreign[0]!r} and no run: --overwrite is for a run's folder, choose another --output"
            )
    elif holds_run:
        raise InputError(
            f"{path} already holds a run: use --resume to continue it, --overwrite to replace it, or another --output"
        )
    elif names:
        raise InputError(f"{path} holds {min(names)!r} and no run: choose an empty folder or a new one as --output")


def _remove(folder: Path, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for entry in folder.glob(pattern):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
