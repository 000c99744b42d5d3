"""A run in MLflow: what is logged is kept in the run's folder at once, and sent by a thread."""

from __future__ import annotations

import logging
import shlex
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hmdc_ray.config import TrackingConfig
from hmdc_ray.errors import InputError
from hmdc_ray.tracking.already_logged import AlreadyLogged, already_logged, last_step
from hmdc_ray.tracking.delivery import Delivery
from hmdc_ray.tracking.journal import Journal, read_destination
from hmdc_ray.tracking.pictures import picture, title, write_picture
from hmdc_ray.tracking.protocol import Status
from hmdc_ray.tracking.records import (
    LONGEST_VALUE,
    Artifact,
    Dataset,
    Destination,
    Ending,
    Metrics,
    Parameters,
    Record,
    Tags,
    key,
)
from hmdc_ray.tracking.store import Address, connect, experiment_id, named_errors, reason, reopened_run
from hmdc_ray.tracking.system import LAST_METRIC, SystemSampler
from hmdc_ray.tracking.tags import run_tags

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

FOLDER = "tracking"
"""The journal's name in a run's folder."""

FINISH_SECONDS: dict[Status, float] = {"FINISHED": 60, "FAILED": 5, "KILLED": 5}  # what is stopped ends soon
SEND_SECONDS = 1.0
LONGEST_PAUSE = 60.0

_logger = logging.getLogger(__name__)


class Tracker:
    """A run in MLflow; see :class:`hmdc_ray.tracking.Tracking`. Made by :meth:`open`.

    Parameters and data set describe a run that is still being prepared: they wait in memory. With the first of all other
    records the tracker takes its place in the run's folder, and the machine's load is sampled from then on.

    When the server does not take records, that is warned of once in the log; the thread tries again after pauses of up to
    :data:`LONGEST_PAUSE` seconds, and what is left at the end is for :func:`hmdc_ray.tracking.sync.sync_tracking`.
    """

    def __init__(
        self,
        client: MlflowClient,
        destination: Destination,
        location: str,
        journal: Journal,
        logged: AlreadyLogged | None = None,
    ) -> None:
        self.run_id = destination.run_id
        self.location = location
        self._destination = destination
        self._journal = journal
        self._logged = logged or {}
        self._delivery = Delivery(client, self.run_id, journal)
        self._sampler: SystemSampler | None = None
        self._warned: set[str] = set()
        self._closing = threading.Event()
        self._abandoned = False
        self._thread = threading.Thread(target=self._send, name="tracking", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        config: TrackingConfig,
        run_name: str,
        folder: Path,
        tags: Mapping[str, str],
        run_id: str | None = None,
        *,
        parent: str | None = None,
    ) -> Tracker:
        """Start a run, or resume one. Takes seconds: mlflow is imported, and a new database migrated.

        Args:
            config: the address is ``config.uri``, else MLFLOW_TRACKING_URI, else ``mlflow.db`` beside ``folder``, with
                the artifacts in ``mlruns/`` there.
            run_name: the run's name in MLflow.
            folder: the run's folder.
            tags: more tags; the version of this package, the user and the git commit are added.
            run_id: id of the run to resume; when MLflow does not know it any more, a new one is started, with a warning.
            parent: id of the run that a new run is a child of, such as a search's.

        Raises:
            InputError: the server cannot be reached, or does not accept the run; what the run has left unsent is damaged,
                or being sent by another process.
        """
        folder = folder.absolute()
        address = Address.chosen(config.uri, folder)
        client = connect(address)
        with named_errors(address):
            experiment = experiment_id(client, config.experiment, address)
            run = reopened_run(client, run_id) if run_id else None
            if run is None:
                run = client.create_run(experiment, run_name=run_name, tags={**run_tags(parent), **tags})
        destination = Destination(run_id=run.info.run_id, uri=address.remembered)
        journal = _journal(folder / FOLDER, run_id, destination)
        with named_errors(address):
            logged = already_logged(client, run, journal.recorded) if run_id else {}
        return cls(client, destination, address.page(run), journal, logged)

    def parameters(self, flat: Mapping[str, Any]) -> None:
        """See :meth:`hmdc_ray.tracking.Tracking.parameters`."""
        self._append(Parameters(values={key(name): str(value)[:LONGEST_VALUE] for name, value in flat.items()}))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See :meth:`hmdc_ray.tracking.Tracking.metrics`."""
        logged = self._logged.get(("metrics", step), ())
        new = {key(name): float(value) for name, value in values.items() if key(name) not in logged}
        if new:
            self._settle()
            self._append(Metrics(step=step, time=_now(), values=new))

    def last_step(self, name: str) -> int:
        """See :meth:`hmdc_ray.tracking.Tracking.last_step`."""
        return max(0, last_step(self._logged, key(name)))

    def image(self, name: str, array_HWC: npt.NDArray[np.uint8], step: int) -> None:
        """See :meth:`hmdc_ray.tracking.Tracking.image`."""
        if title(name) in self._logged.get(("picture", step), ()):
            return
        self._settle()
        record = picture(self.run_id, name, step, _now())
        try:
            write_picture(self._journal.folder, record, array_HWC)
        except OSError as error:
            self._warn("MLflow will lack pictures of this run (%s); the run goes on", reason(error))
        else:
            self._append(record)

    def dataset(self, name: str, source: str, fingerprint: str, schema: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        """See :meth:`hmdc_ray.tracking.Tracking.dataset`."""
        self._append(Dataset(name=name, source=source, fingerprint=fingerprint, columns=dict(schema), sizes=dict(sizes)))

    def tags(self, values: Mapping[str, str]) -> None:
        """See :meth:`hmdc_ray.tracking.Tracking.tags`."""
        if values:
            self._settle()
            self._append(Tags(values=dict(values)))

    def artifacts(self, paths: Iterable[Path]) -> None:
        """See :meth:`hmdc_ray.tracking.Tracking.artifacts`; the tracker's own folder is left out."""
        self._settle()
        for path in paths:
            if path.absolute() != self._journal.folder:
                self._append(Artifact(path=path.absolute().relative_to(self._journal.folder.parent).as_posix()))

    def finish(self, status: Status) -> None:
        """See :meth:`hmdc_ray.tracking.Tracking.finish`."""
        if self._closing.is_set():
            return
        if self._sampler:
            self._sampler.stop()
        self._append(Ending(status=status, time=_now()))
        self._closing.set()
        self._thread.join(FINISH_SECONDS[status])
        self._abandoned = self._thread.is_alive()
        self._journal.close()
        if self._journal.left:
            folder = shlex.quote(str(self._journal.folder.parent))
            remedy = f"send them with: hmdc sync-tracking {folder}" if self._journal.kept else "they are lost"
            _logger.warning("MLflow lacks %d records of this run; %s", self._journal.left, remedy)

    def _settle(self) -> None:
        """Take the journal's place in the run's folder, once, and start to sample the machine's load."""
        if self._sampler:
            return
        if not self._journal.kept:
            try:
                self._journal.keep(self._destination)
            except InputError as error:
                self._warn("what MLflow does not take of this run will be lost (%s); the run goes on", reason(error))
        self._sampler = SystemSampler(self.metrics, last_step(self._logged, LAST_METRIC) + 1)

    def _append(self, record: Record) -> None:
        try:
            self._journal.append(record)
        except OSError as error:
            self._warn("what MLflow does not take of this run will be lost (%s); the run goes on", reason(error))

    def _send(self) -> None:
        """The thread: send what is there, wait, and longer when that failed; the last time when the run is closed."""
        pause = SEND_SECONDS
        closing = False
        while not closing:
            closing = self._closing.wait(pause)
            try:
                self._delivery.send_unsent(self._refused)
                pause = SEND_SECONDS
            except Exception as error:  # whatever a store raises, it must not end the run
                if self._abandoned:
                    return
                self._warn("MLflow does not take records of this run now (%s); the run goes on, and keeps them", reason(error))
                pause = min(2 * pause, LONGEST_PAUSE)

    def _refused(self, error: Exception) -> None:
        self._warn("MLflow refuses a record of this run (%s); the run goes on", reason(error))

    def _warn(self, message: str, cause: str) -> None:
        """Log the message, once for each."""
        _logger.log(logging.DEBUG if message in self._warned else logging.WARNING, message, cause)
        self._warned.add(message)


def _journal(folder: Path, run_id: str | None, destination: Destination) -> Journal:
    """A new journal, or that of the resumed run; MLflow gets all of it again when it has forgotten the run."""
    before = read_destination(folder)
    if run_id is None or before is None or before.run_id != run_id:
        return Journal(folder)
    journal = Journal.reopen(folder)
    journal.address(destination)
    journal.forget_endings()
    return journal


def _now() -> int:
    return time.time_ns() // 1_000_000
