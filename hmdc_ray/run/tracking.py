"""What a run tells MLflow of itself."""

from __future__ import annotations

from pathlib import Path

from hmdc_ray.config import RunConfig, TrackingConfig
from hmdc_ray.config.io import flatten
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.tracking import Address, Recorder, Sender, check_store, connect


def check_tracking(config: TrackingConfig, folder: Path) -> None:
    """Refuse a server that does not answer, or a database in no folder, before a run begins.

    mlflow, which takes seconds to import, is asked of addresses of other kinds only.

    Raises:
        InputError: there is no answer within 10 s, no folder, or no store.
    """
    address = Address.chosen(config.uri, folder)
    if config.enabled:
        check_store(address)
        if not address.is_server and address.database is None:
            connect(address)


def open_tracking(config: RunConfig, info: DatasetInfo, folder: Path, parent: str | None) -> Recorder:
    """Record a run in its folder, a new one with its parameters and data, and have it sent.

    Args:
        config: the run.
        info: description of its data.
        folder: the run's.
        parent: id of the run that it is a child of.

    Raises:
        InputError: the folder cannot be written, or what it says of a resumed run is damaged.
    """
    if not config.tracking.enabled:
        return Recorder()
    sender = Sender.of_run(config.tracking, config.name, folder, {"preset": config.name, "seed": str(config.seed)}, parent)
    recorder = Recorder(sender)
    if sender.is_new:
        recorder.parameters(flatten(config))
        shape = info.shape
        columns = {"image": f"uint8 {shape.height}x{shape.width}x{shape.channels}", "label": "int64"}
        recorder.dataset(Path(info.source).name, info.source, info.fingerprint, columns, dict[str, int](info.sizes.items()))
    return recorder
