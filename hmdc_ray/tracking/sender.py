"""Brings a tracker to the state of a run's files: during the run, at its end, and later."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from hmdc_ray.config import TrackingConfig
from hmdc_ray.errors import InputError
from hmdc_ray.system.files import write_atomically
from hmdc_ray.system.locks import lock_for_life, lock_owner
from hmdc_ray.tracking import records
from hmdc_ray.tracking.mlflow_run import MlflowRun, run_tags
from hmdc_ray.tracking.pictures import picture_files
from hmdc_ray.tracking.protocol import Tracker, Value
from hmdc_ray.tracking.records import FOLDER, RUN, Metrics, Record, TrackedRun, read_run
from hmdc_ray.tracking.store import ADDRESS_VARIABLE, Address, named_errors, reason

BATCH_VALUES = 1000  # MLflow's limit


class _GoneError(InputError):
    """What a record names cannot be sent any more, whatever the tracker."""


def open_tracker(address: Address, run: TrackedRun) -> Tracker:
    """The tracker of a run, started in the store at the address or continued there.

    Raises:
        InputError: the store cannot be used, or does not accept the run.
    """
    return MlflowRun(address, run)


class Sender:
    """Sends what a run's files hold; one process at a time may, the one that has locked the folder.

    Args:
        folder: the run's folder, absolute.
        run: the run, and what was sent of it.
        open_tracker: function that starts the run in its store, or continues it; may take long.

    Attributes:
        is_new: whether the folder said nothing of the run.
        tracker: the tracker, once it is open.
        latest: last step of each metric that the store has.
        closed: whether no more is to be sent or written down.
    """

    def __init__(self, folder: Path, run: TrackedRun, open_tracker: Callable[[TrackedRun], Tracker]) -> None:
        self.folder = folder
        self.run = run
        self.is_new = not (folder / RUN).exists()
        self.tracker: Tracker | None = None
        self.closed = False
        self._open_tracker = open_tracker
        self.latest: dict[str, int] = {}
        self._place = 0

    @classmethod
    def of_run(
        cls, config: TrackingConfig, name: str, folder: Path, tags: Mapping[str, str], parent: str | None = None
    ) -> Sender:
        """The sender of a run in MLflow, new or resumed; nothing is written or opened yet.

        Args:
            config: the address is ``config.uri``, else MLFLOW_TRACKING_URI, else ``mlflow.db``
                beside ``folder``, with the artifacts in ``mlruns/`` there.
            name: the run's name in MLflow.
            folder: the run's folder; a run that it tracks is continued.
            tags: more tags; the version of this package, the user and the git commit are added.
            parent: id of the run that a new run is a child of, such as a search's.

        Raises:
            InputError: what the folder says of the run is damaged.
        """
        folder = folder.absolute()
        address = Address.chosen(config.uri, folder)
        known = read_run(folder) or TrackedRun(
            key=uuid4().hex, time=records.now(), name=name, experiment=config.experiment, tags={**run_tags(parent), **tags}
        )
        run = known.model_copy(update={"uri": address.remembered})
        return cls(folder, run, partial(open_tracker, address))

    def open(self) -> Tracker:
        """Start the run in the store, or continue it, if that was not done.

        Raises:
            InputError: the store cannot be used, or the folder not be written.
        """
        if self.tracker is None:
            tracker = self._open_tracker(self.run)
            if tracker.run_id != self.run.run_id:
                self.save({"run_id": tracker.run_id, "step": 0, "sent": 0})
            self.latest = dict(tracker.latest)
            self.tracker = tracker
        return self.tracker

    def send(self, refused: Callable[[Exception], None]) -> int:
        """Send everything that has not been sent, in order.

        Args:
            refused: callback that gets the error by which the store refuses records for good; they
                are left out.

        Returns:
            Number of records sent.

        Raises:
            Exception: the store's, when it does not take records now; another try may send them.
        """
        tracker = self.open()
        count = 0
        for batch, sent, place in self._batches():
            try:
                self._send(tracker, batch)
            except Exception as error:
                if not isinstance(error, _GoneError) and not tracker.refuses(error):
                    raise
                refused(error)
            else:
                count += len(batch)
            if self.closed:
                break
            self._place = place
            self.save(sent)
        return count

    def save(self, changes: Mapping[str, Any]) -> None:
        """Write down what is known of the run.

        Raises:
            InputError: the folder cannot be written.
        """
        self.run = self.run.model_copy(update=changes)
        if not self.closed:
            write_atomically(self.folder / RUN, self.run.model_dump_json())

    def _batches(self) -> Iterator[tuple[list[Record], dict[str, int], int]]:
        """Records that are sent together: metrics of several steps, or a single one of another
        kind."""
        batch: list[Record] = []
        sent: dict[str, int] = {}
        size, place = 0, self._place
        for record, changes, end in records.unsent(self.folder, self.run, self._place):
            values = len(record.values) if isinstance(record, Metrics) else BATCH_VALUES
            if batch and size + values > BATCH_VALUES:
                yield batch, sent, place
                batch, sent, size = [], {}, 0
            batch.append(record)
            sent |= changes
            size, place = size + values, end
        if batch:
            yield batch, sent, place

    def _send(self, tracker: Tracker, batch: list[Record]) -> None:
        match batch[0]:
            case Metrics():
                self._metrics(tracker, batch)
            case records.Picture() as picture:
                files = [file for file in picture_files(self.folder / FOLDER, picture) if file.exists()]
                if files:  # else they have arrived before
                    tracker.image(picture.name, picture.step, files)
                for file in files:
                    with suppress(OSError):
                        file.unlink()
            case records.Parameters(values=values):
                tracker.parameters(values)
            case records.Dataset() as dataset:
                tracker.dataset(dataset)
            case records.Tags(values=values):
                tracker.tags(values)
            case records.Artifact(path=name):
                tracker.artifact(self._inside(name), name)
            case records.State(status=status, time=time):
                tracker.status(status, time)

    def _metrics(self, tracker: Tracker, batch: Iterable[Record]) -> None:
        """A step that a resumed run did again is left out: the first values stay."""
        latest = dict(self.latest)
        values = []
        for record in batch:
            assert isinstance(record, Metrics)
            new = {name: value for name, value in record.values.items() if record.step > latest.get(name, -1)}
            values += [Value(name, value, record.time, record.step) for name, value in new.items()]
            latest |= dict.fromkeys(new, record.step)
        for start in range(0, len(values), BATCH_VALUES):
            tracker.metrics(values[start : start + BATCH_VALUES])
        self.latest = latest

    def _inside(self, name: str) -> Path:
        """The path of a file or folder to be sent; records from elsewhere must not have other files
        of this machine sent."""
        path = self.folder / name
        if not path.exists():
            raise _GoneError(f"{path} is gone: it cannot be sent any more")
        for entry in (path, *path.rglob("*")):
            if not entry.resolve().is_relative_to(self.folder.resolve()):
                raise _GoneError(f"{entry} lies outside {self.folder}: only files of the run's folder are sent")
        return path


@dataclass(frozen=True)
class Synced:
    """What became of one run's records.

    Attributes:
        folder: the run's folder.
        is_running: a process has resumed the run and sends its records itself; nothing was done.
        sent: number of records sent.
        refused: why records were not taken, one entry a call; they are left out.
    """

    folder: Path
    is_running: bool = False
    sent: int = 0
    refused: list[str] = field(default_factory=list)


def sync_tracking(folder: Path) -> Iterator[Synced]:
    """Send what MLflow lacks of a run, or of each run in a folder such as a search's; every value
    once.

    The records go to MLFLOW_TRACKING_URI if it is set, else to where the run sent them. A store
    that does not know the run gets all of it, as a new run.

    Args:
        folder: folder of a run, or one with runs at any depth.

    Returns:
        One entry a run, as they are done.

    Raises:
        InputError: the folder holds no tracked run, or a store cannot be used.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: name the folder of a run, or one with runs")
    runs = _runs(folder.absolute())
    if not runs:
        raise InputError(f"{folder} holds no tracked run (no {RUN}): name the folder of a run, or one with runs")
    return map(_synced, runs)


def _runs(folder: Path) -> list[Path]:
    """The folders of runs in the folder, in order.

    A trial's checkpoints hold copies of its folder: of those of one run only the longest counts,
    which alone may be complete.
    """
    folders = [path.parent.parent for path in folder.rglob(RUN)]
    found: dict[str, Path] = {}
    for path in sorted(folders, key=lambda path: (records.size(path / records.RECORDS), -len(path.parts))):
        run = read_run(path)
        assert run is not None
        found[run.key] = path
    return sorted(found.values())


def _synced(folder: Path) -> Synced:
    if lock_owner(folder) is not None:
        return Synced(folder, is_running=True)
    if records.count_unsent(folder) == 0:
        return Synced(folder)
    lock = lock_for_life(folder)
    try:
        run, refused = read_run(folder), list[str]()
        assert run is not None
        address = Address.chosen(None if os.environ.get(ADDRESS_VARIABLE) else run.uri, folder, str(folder / RUN))
        sender = Sender(folder, run.model_copy(update={"uri": address.remembered}), partial(open_tracker, address))
        with named_errors(address):
            sent = sender.send(lambda error: refused.append(reason(error)))
        return Synced(folder, sent=sent, refused=refused)
    finally:
        lock.release()
