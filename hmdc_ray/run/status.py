"""Where a run stands, read from its folder alone, while it runs or long after."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import CONFIG_FILE, EVALUATION_FILE, METRICS_FILE, load_config
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.schedule import total_steps
from hmdc_ray.run.events import TROUBLE, Event, read_events, seconds_lost
from hmdc_ray.server.checkpoint import CheckpointFolder
from hmdc_ray.system.files import read_json_lines
from hmdc_ray.system.locks import lock_owner
from hmdc_ray.tracking import count_unsent

State = Literal["running", "finished", "stopped"]


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands.

    Attributes:
        folder: the run's folder.
        name: the run's name.
        state: ``running`` while a process has the folder locked; ``finished`` once it was
            evaluated; else ``stopped``.
        process: number of the process that has the folder locked; None when none has.
        step: image steps done.
        total: image steps of the complete run.
        iteration: iteration of the last step, from 0; None before the first.
        iterations: iterations of the complete run.
        last_step_age: seconds since the last step; None before the first.
        checkpoint: image version of the newest checkpoint; None without one.
        checkpoint_age: seconds since that checkpoint was saved.
        trouble: number of events by kind of trouble; see :data:`hmdc_ray.run.events.TROUBLE`.
        last_trouble: last of these events.
        seconds_lost: seconds that recoveries took, in all.
        unsent: number of records that MLflow has not received.
        notes: one line for each thing that could not be read, such as a damaged checkpoint.
    """

    folder: Path
    name: str
    state: State
    process: str | None
    step: int
    total: int
    iteration: int | None
    iterations: int
    last_step_age: float | None
    checkpoint: int | None
    checkpoint_age: float | None
    trouble: Mapping[str, int]
    last_trouble: Event | None
    seconds_lost: float
    unsent: int
    notes: tuple[str, ...]


def run_status(folder: Path) -> RunStatus:
    """Where the run in ``folder`` stands. Nothing in the folder is changed.

    Raises:
        InputError: the folder holds no run, or its configuration cannot be read.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise InputError(f"{folder} holds no run (no {CONFIG_FILE}): give the folder of a run, or one with runs in it")
    config = load_config(folder)
    notes: list[str] = []
    process = lock_owner(folder)
    step, iteration, last_step_age = _position(folder, notes)
    version, checkpoint_age = _newest_checkpoint(folder, config, notes)
    events = _events(folder, notes)
    trouble = [event for event in events if event.kind in TROUBLE]
    total = total_steps(config.schedule)
    finished = step >= total and (folder / EVALUATION_FILE).is_file()
    return RunStatus(
        folder=folder,
        name=config.name,
        state="running" if process else "finished" if finished else "stopped",
        process=process,
        step=step,
        total=total,
        iteration=iteration,
        iterations=config.schedule.iterations,
        last_step_age=last_step_age,
        checkpoint=version,
        checkpoint_age=checkpoint_age,
        trouble=Counter(event.kind for event in trouble),
        last_trouble=trouble[-1] if trouble else None,
        seconds_lost=sum(seconds_lost(events)),
        unsent=_unsent(folder, notes),
        notes=tuple(notes),
    )


def run_folders(folder: Path) -> list[Path]:
    """The folder itself if it holds a run, else the folders in it that do, as those of a search;
    sorted.

    Raises:
        InputError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is {'a file' if folder.exists() else 'not there'}: give the folder of a run")
    if (folder / CONFIG_FILE).is_file():
        return [folder]
    found = sorted({file.parent for depth in ("*", "*/*") for file in folder.glob(f"{depth}/{CONFIG_FILE}")})
    if not found:
        raise InputError(f"{folder} holds no run (no {CONFIG_FILE}): give the folder of a run, or one with runs in it")
    return found


def _position(folder: Path, notes: list[str]) -> tuple[int, int | None, float | None]:
    file = folder / METRICS_FILE
    try:
        records = read_json_lines(file)
        if not records:
            return 0, None, None
        step, iteration = records[-1].get("step"), records[-1].get("iteration")
        if not isinstance(step, int) or not isinstance(iteration, int):
            raise InputError(f"{file} ends with step {step!r} and iteration {iteration!r}: must be whole numbers")
        return step, iteration, _age(file.stat().st_mtime)
    except (InputError, OSError) as error:
        notes.append(str(error))
        return 0, None, None


def _newest_checkpoint(folder: Path, config: RunConfig, notes: list[str]) -> tuple[int | None, float | None]:
    """Version and age of the newest checkpoint with a valid manifest; its tensors, which may be
    large, are not read."""
    try:
        checkpoints = CheckpointFolder.of_run(folder, config.schedule)
        versions = checkpoints.versions()
    except InputError as error:
        notes.append(str(error))
        return None, None
    for version in reversed(versions):
        try:
            checkpoints.manifest(version)
            return version, _age(checkpoints.saved_at(version))
        except InputError as error:
            notes.append(str(error))
    return None, None


def _events(folder: Path, notes: list[str]) -> list[Event]:
    try:
        return read_events(folder)
    except InputError as error:
        notes.append(str(error))
        return []


def _unsent(folder: Path, notes: list[str]) -> int:
    try:
        return count_unsent(folder)
    except (InputError, OSError) as error:
        notes.append(str(error))
        return 0


def _age(seconds_since_1970: float) -> float:
    return max(0.0, time.time() - seconds_since_1970)


def age(event: Event) -> float:
    """Seconds since an event."""
    return _age(datetime.fromisoformat(event.time).timestamp())
