"""What a run tells its tracker: recorded in the run's folder at once, and sent by a thread."""

from __future__ import annotations

import logging
import shlex
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hmdc_ray.errors import InputError
from hmdc_ray.system.files import LineLog
from hmdc_ray.tracking import records
from hmdc_ray.tracking.pictures import picture, write_picture
from hmdc_ray.tracking.records import FOLDER, LONGEST_VALUE, Record, State, Status, key, now
from hmdc_ray.tracking.sender import Sender
from hmdc_ray.tracking.store import reason
from hmdc_ray.tracking.system import LAST_METRIC, SystemSampler

FINISH_SECONDS: dict[Status, float] = {"FINISHED": 60, "FAILED": 15, "KILLED": 15}  # what is stopped ends soon
SEND_SECONDS = 2.0
LONGEST_PAUSE = 60.0

_logger = logging.getLogger(__name__)


class Recorder:
    """Records a run in its folder; no method raises for a store's faults or waits for it, but
    :meth:`finish`.

    A thread sends what is recorded, and the lines of ``metrics.jsonl``, with the first of which it
    opens the store: to import mlflow takes five seconds of processor time, which the start of a run
    has better use for. From then on the machine's load is sampled. What fails is warned of once,
    and tried again after pauses of up to :data:`LONGEST_PAUSE` seconds; what is left at the end is
    for :func:`hmdc_ray.tracking.sender.sync_tracking`.

    Args:
        sender: sender of a run whose folder is this process's; None: nothing is recorded.

    Raises:
        InputError: the folder cannot be written.
    """

    def __init__(self, sender: Sender | None = None) -> None:
        self._sender = sender
        self._status: Status | None = None
        self._sampler: SystemSampler | None = None
        self._warned: set[str] = set()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        if sender is not None:
            sender.save({})
            self._log = LineLog(sender.folder / records.RECORDS)
            self._append(State(status="RUNNING", time=now()))
            self._thread = threading.Thread(target=self._work, args=(sender,), name="tracking", daemon=True)
            self._thread.start()

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; empty as long as it has none, or nothing is tracked."""
        return self._sender.run.run_id or "" if self._sender else ""

    @property
    def location(self) -> str:
        """See :class:`hmdc_ray.tracking.protocol.Tracker`; empty as long as the store is not open,
        or nothing is tracked."""
        return self._sender.tracker.location if self._sender and self._sender.tracker else ""

    def parameters(self, flat: Mapping[str, Any]) -> None:
        """Log the run's parameters, such as :func:`hmdc_ray.config.io.flatten` gives them; they
        cannot change later."""
        self._append(records.Parameters(values={key(name): str(value)[:LONGEST_VALUE] for name, value in flat.items()}))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log values at a step, by names such as ``loss/vit``; they may be NaN or infinite.

        Steps of a name must ascend. Those of ``metrics.jsonl`` are logged without being told.
        """
        self._append(records.Metrics(step=step, time=now(), values={key(name): float(value) for name, value in values.items()}))

    def image(self, name: str, array_HWC: npt.NDArray[np.uint8], step: int) -> None:
        """Log a picture (H, W, 3) or (H, W, 1), 0 to 255, as one of a series over the steps; never
        twice at a step."""
        if self._sender is not None:
            record = picture(self._sender.run, name, step)
            try:
                write_picture(self._sender.folder / FOLDER, record, array_HWC)
                self._append(record)
            except OSError as error:
                self._warn("MLflow will lack pictures of this run (%s); the run goes on", error)

    def dataset(self, name: str, source: str, fingerprint: str, schema: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        """Log the data set as the run's input.

        Args:
            name: the data set's name.
            source: where it was read from.
            fingerprint: hash of its content.
            schema: kind of each column, such as ``{"image": "uint8 32x32x3"}``.
            sizes: numbers worth showing, such as images per split.
        """
        self._append(
            records.Dataset(name=name, source=source, fingerprint=fingerprint, columns=dict(schema), sizes=dict(sizes))
        )

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags of the run; a later value replaces an earlier one."""
        self._append(records.Tags(values=dict(values)))

    def artifacts(self, paths: Iterable[Path]) -> None:
        """Store files, and folders with what they hold, with the run; they lie in the run's folder,
        and stay there."""
        for path in paths:
            if self._sender is not None and path.absolute() != self._sender.folder / FOLDER:
                self._append(records.Artifact(path=path.absolute().relative_to(self._sender.folder).as_posix()))

    def finish(self, status: Status) -> None:
        """Send what is left and close the run; waits for at most :data:`FINISH_SECONDS`. Harmless
        when repeated.

        Of a run that is stopped before its first step nothing is sent.
        """
        if self._sender is None or self._status is not None:
            return
        with self._lock:
            self._status = status
        if self._sampler:
            self._sampler.stop()
        self._append(State(status=status, time=now()))
        self._closing.set()
        self._thread.join(FINISH_SECONDS[status])
        self._sender.closed = True
        folder = self._sender.folder
        with suppress(InputError):  # damage, which the thread has told
            left = records.count_unsent(folder)
            if left and self._is_due(self._sender):
                command = f"hmdc sync-tracking {shlex.quote(str(folder))}"
                _logger.warning("MLflow lacks %d records of this run; send them with: %s", left, command)

    def _append(self, record: Record) -> None:
        if self._sender is not None:
            with self._lock:
                self._log.add(record.model_dump())

    def _is_due(self, sender: Sender) -> bool:
        return bool(sender.tracker) or (sender.folder / records.STEPS).exists() or self._status in ("FINISHED", "FAILED")

    def _work(self, sender: Sender) -> None:
        """The thread: send what is there, wait, and longer when that failed; the last time when the
        run is closed."""
        pause = SEND_SECONDS
        closing = False
        while not closing:
            closing = self._closing.wait(pause)
            if not self._is_due(sender):
                continue
            try:
                sender.send(lambda error: self._warn("MLflow refuses a record of this run (%s); the run goes on", error))
                pause = SEND_SECONDS
                with self._lock:
                    if self._sampler is None and self._status is None:
                        self._sampler = SystemSampler(self.metrics, sender.latest.get(LAST_METRIC, -1) + 1)
            except Exception as error:  # whatever a store raises, it must not end the run
                if not sender.closed:
                    self._warn("MLflow does not take records of this run now (%s); the run goes on, and keeps them", error)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _warn(self, message: str, cause: Exception) -> None:
        """Log the message, once for each."""
        _logger.log(logging.DEBUG if message in self._warned else logging.WARNING, message, reason(cause))
        self._warned.add(message)
