"""Checks, before anything is started, that a run can be resumed from what its folder holds."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import METRICS_FILE
from hmdc_ray.config.statistics import OWN
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.resources import with_threads
from hmdc_ray.exchange.schedule import total_steps
from hmdc_ray.server.checkpoint import SERVER, CheckpointFolder, Manifest
from hmdc_ray.server.identity import CORRECTIONS, identity
from hmdc_ray.system.files import read_json_lines, write_atomically

_UNSAID = {"config.data.statistics": OWN, "GPU format": "none, on CPUs"}
"""How a person writes a value that a record has as None."""


def resume_from(path: Path, config: RunConfig, info: DatasetInfo) -> tuple[int, RunConfig]:
    """The image version to resume from, which is the newest valid checkpoint's, or 0 without one;
    cuts the metrics back to it.

    Checkpoints that were cut off or altered are skipped with a warning, and left as they are.

    Returns:
        The version, and the configuration with the checkpoint's number of threads where it says
        ``auto``: the last bits of sums depend on it.

    Raises:
        InputError: the configuration or the data differ from the checkpoint's in something that
            changes the images; there are checkpoints, but no valid one; the newest valid one holds
            no images of this run's shape.
    """
    checkpoints = CheckpointFolder.of_run(path, config.schedule)
    latest = checkpoints.latest()
    version = latest.version if latest else 0
    if latest is not None:
        config = _with_threads_of(latest, config)
        _require_same(latest, identity(config, info), path)
        _require_images(checkpoints, latest, config, info)
    if version > total_steps(config.schedule):
        raise InputError(
            f"schedule.iterations {config.schedule.iterations} x steps {config.schedule.steps} is less than the {version} "
            f"steps that the run in {path} has done: ask for more"
        )
    _cut_metrics(path / METRICS_FILE, version)
    return version, config


def _with_threads_of(latest: Manifest, config: RunConfig) -> RunConfig:
    threads = latest.identity.get("config", {}).get("cluster", {}).get("threads")
    return with_threads(config, threads) if isinstance(threads, int) and threads >= 1 else config


def require_unused(path: Path, config: RunConfig) -> None:
    """Refuse to begin a run whose checkpoint storage outside its folder holds checkpoints of
    another run.

    Raises:
        InputError: there are checkpoints.
    """
    checkpoints = CheckpointFolder.of_run(path, config.schedule)
    if config.schedule.checkpoint_uri is not None and checkpoints.versions():
        raise InputError(
            f"schedule.checkpoint_uri is {config.schedule.checkpoint_uri!r}, which holds checkpoints of a run: resume it "
            "with the --output that it had, use --overwrite to replace it, or name an empty folder"
        )


def require_same(
    asked: Mapping[str, Any],
    begun: Mapping[str, Any],
    record: str,
    *,
    ignored: Collection[str] = (),
    otherwise: str = "start anew with --overwrite or another --output",
) -> None:
    """Refuse to resume what was begun with other values.

    Args:
        asked: values by name that the command was given.
        begun: values by name in the record.
        record: subject and verb for the message, such as "the search in runs/a was started".
        ignored: names whose values may differ.
        otherwise: advice for those who want the new values.

    Raises:
        InputError: a value differs; names the first and its two values, and the others.
    """
    different = [name for name in {**asked, **begun} if name not in ignored and asked.get(name) != begun.get(name)]
    if different:
        first, *others = different
        now, before = (_UNSAID.get(first) if values.get(first) is None else values[first] for values in (asked, begun))
        more = f" (also {', '.join(others)})" if others else ""
        raise InputError(
            f"{first.removeprefix('config.')} is {now!r}, but {record} with {before!r}{more}: resume with the same value, "
            f"or {otherwise}"
        )


def _require_same(latest: Manifest, current_identity: dict[str, object], path: Path) -> None:
    saved, current = (dict(sorted(_flat(entry).items())) for entry in (latest.identity, current_identity))
    names = sorted(name for name in {**saved, **current} if name.startswith(f"{CORRECTIONS}."))
    corrected = [name for name in names if saved.get(name) != current.get(name)]
    # A field that the saved one lacks is as new as the correction.
    ignored = {*corrected, *(current.keys() - saved.keys() if corrected else ())}
    require_same(current, saved, f"the checkpoint in {path} was made", ignored=ignored)
    if corrected:
        sentence = current.get(corrected[0]) or saved[corrected[0]]
        raise InputError(
            f"the checkpoint in {path} was made by another version of hmdc-ray and would not lead to the same images: "
            f"{sentence}; finish the run with that version, or start anew with --overwrite or another --output"
        )


def _require_images(checkpoints: CheckpointFolder, latest: Manifest, config: RunConfig, info: DatasetInfo) -> None:
    """Refuse a checkpoint without usable images: one from elsewhere may hold anything, with the
    right checksum."""
    server = checkpoints.load(latest.version).get(SERVER)
    shape = (len(info.class_names), config.images.ipc, info.shape.channels, info.shape.height, info.shape.width)
    arrays = server.arrays if server is not None and server.values.get("version") == latest.version else {}
    found = [arrays[name] for name in ("images", "momentum") if name in arrays]
    fits = all(array.shape == shape and array.dtype.kind == "f" and np.isfinite(array).all() for array in found)
    if not fits or len(found) < 2 or not {"history", "losses"} <= arrays.keys():
        place = checkpoints.storage.place(latest.file)
        raise InputError(f"{place} does not hold finite images and momentum of shape {shape}")


def _cut_metrics(file: Path, version: int) -> None:
    kept = []
    for number, record in enumerate(read_json_lines(file), start=1):
        step = record.get("step")
        if not isinstance(step, int):
            raise InputError(f"{file} line {number} has step {step!r}: must be a whole number")
        if step <= version:
            kept.append(json.dumps(record, separators=(",", ":")) + "\n")
    write_atomically(file, "".join(kept))


def _flat(value: object, name: str = "") -> dict[str, object]:
    if isinstance(value, dict) and value:
        return {key: leaf for part, inner in value.items() for key, leaf in _flat(inner, f"{name}.{part}".strip(".")).items()}
    if isinstance(value, list) and value:
        return {key: leaf for part, inner in enumerate(value) for key, leaf in _flat(inner, f"{name}.{part}").items()}
    return {name: value}
