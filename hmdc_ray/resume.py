"""Whether a run can go on from what its folder holds, decided before anything is started."""

from __future__ import annotations

import json
from pathlib import Path

from hmdc_ray.actors.assembly import identity
from hmdc_ray.config import RunConfig
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.files import read_json_lines, write_atomically
from hmdc_ray.schedule import total_steps
from hmdc_ray.server.checkpoint import CheckpointFolder


def resumable_version(path: Path, config: RunConfig, info: DatasetInfo) -> int:
    """The image version to go on from; cuts the metrics back to it. 0 when no checkpoint was saved yet.

    Raises:
        InputError: the configuration or the data differ from the checkpoint's in something that changes the images.
    """
    checkpoints = CheckpointFolder(path / "checkpoint")
    latest = checkpoints.latest()
    version = latest.version if latest else 0
    if latest is not None:
        saved, current = (_flat(entry) for entry in (latest.identity, identity(config, info)))
        different = sorted(name for name in saved | current if saved.get(name) != current.get(name))
        if different:
            name = different[0]
            more = f" (also {', '.join(different[1:])})" if different[1:] else ""
            raise InputError(
                f"{name.removeprefix('config.')} is {current.get(name)!r}, but the checkpoint in {path} was made with "
                f"{saved.get(name)!r}{more}: resume with the same value, or start anew with --overwrite or another --output"
            )
        checkpoints.load(version)  # a damaged one is refused now, before anything is started or changed
    if version > total_steps(config.schedule):
        raise InputError(
            f"schedule.iterations {config.schedule.iterations} x steps {config.schedule.steps} is less than the {version} "
            f"steps that the run in {path} has done: ask for more"
        )
    kept = [record for record in read_json_lines(path / "metrics.jsonl") if record["step"] <= version]
    write_atomically(path / "metrics.jsonl", "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in kept))
    return version


def _flat(value: object, name: str = "") -> dict[str, object]:
    if isinstance(value, dict) and value:
        return {key: leaf for part, inner in value.items() for key, leaf in _flat(inner, f"{name}.{part}".strip(".")).items()}
    if isinstance(value, list) and value:
        return {key: leaf for part, inner in enumerate(value) for key, leaf in _flat(inner, f"{name}.{part}").items()}
    return {name: value}
