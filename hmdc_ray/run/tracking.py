"""What a run tells MLflow of itself, and what it catches up on when it is resumed."""

from __future__ import annotations

import json
from pathlib import Path

from hmdc_ray.config import RunConfig, TrackingConfig
from hmdc_ray.config.io import flatten
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.system.files import read_json_lines
from hmdc_ray.tracking import Address, NoTracker, Tracker, Tracking, check_store

TRACKING_FILE = "tracking.json"

POSITION = ("step", "iteration", "members")
"""Entries of a line of metrics.jsonl that say which step it is of; all others are metrics."""

LAST_METRIC = "seconds/step"
"""The name that ends a step's metrics: what holds it for a step holds all the step's metrics."""


def check_tracking(config: TrackingConfig, folder: Path) -> None:
    """Refuse a server that does not answer, or a database in no folder, before a run begins; mlflow is not imported.

    Raises:
        InputError: there is no answer within 10 s, or no folder.
    """
    if config.enabled:
        check_store(Address.chosen(config.uri, folder))


def can_be_checked(config: TrackingConfig, folder: Path) -> bool:
    """Whether :func:`check_tracking` can find a store that is not there: a server, or an SQLite database."""
    address = Address.chosen(config.uri, folder)
    return not config.enabled or address.is_server or address.database is not None


def open_tracking(config: RunConfig, info: DatasetInfo, folder: Path, resumes: bool, parent: str | None) -> Tracking:
    """Open the tracking of a run, with its parameters and data; of a resumed one, send the steps that were not sent.

    Args:
        config: the run.
        info: description of its data.
        folder: the run's.
        resumes: whether the run is resumed.
        parent: id of the run that it is a child of.

    Raises:
        InputError: the server cannot be reached, or does not accept the run.
    """
    if not config.tracking.enabled:
        return NoTracker()
    remembered = folder / TRACKING_FILE
    run_id = json.loads(remembered.read_text())["run_id"] if resumes and remembered.exists() else None
    tags = {"preset": config.name, "seed": str(config.seed)}
    tracker = Tracker.open(config.tracking, config.name, folder, tags, run_id, parent=parent)
    tracked = tracker.last_step(LAST_METRIC)
    if not tracked:
        _describe(tracker, config, info)
    if resumes:
        for record in read_json_lines(folder / "metrics.jsonl"):
            if record["step"] > tracked:
                metrics = {name: value for name, value in record.items() if name not in POSITION}
                tracker.metrics(record["step"], metrics)
    return tracker


def _describe(tracker: Tracking, config: RunConfig, info: DatasetInfo) -> None:
    tracker.parameters(flatten(config))
    shape = info.shape
    columns = {"image": f"uint8 {shape.height}x{shape.width}x{shape.channels}", "label": "int64"}
    tracker.dataset(Path(info.source).name, info.source, info.fingerprint, columns, dict[str, int](info.sizes.items()))
