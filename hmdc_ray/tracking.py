"""Tracking of a run in MLflow; the only file that imports mlflow.

mlflow takes seconds to import, so it is imported where a tracker is opened. After that all calls to the server are made
by one thread per tracker, in order: a slow or lost server delays or loses records of the run, never the run.
"""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import logging
import os
import queue
import re
import shlex
import shutil
import ssl
import subprocess
import textwrap
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from hmdc_ray.config import TrackingConfig
from hmdc_ray.errors import InputError
from hmdc_ray.files import locked

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

Status = Literal["FINISHED", "FAILED", "KILLED"]

FLUSH_SECONDS = 1.0
FLUSH_VALUES = 500
VALUES_PER_CALL = 1000  # MLflow's limit; more than a flush and a step hold, so that no step is torn apart
PARAMETERS_PER_CALL = 100  # MLflow's limit
FINISH_SECONDS: dict[Status, float] = {"FINISHED": 60, "FAILED": 5, "KILLED": 5}  # what is stopped ends within 15 s
_SQLITE = "sqlite:///"
_ENVIRONMENT = {  # a value that the user has set wins
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # MLflow's own seven take minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}

_ADVICE = "give another address (tracking.uri or MLFLOW_TRACKING_URI), or track nothing (tracking.enabled=false)"

_logger = logging.getLogger(__name__)


class Tracking(Protocol):
    """Where a run's records go; no method raises for a server's faults or waits for it, but :meth:`finish`.

    Attributes:
        run_id: MLflow's id of the run, for going on with it; empty when nothing is tracked.
        location: how to look at the run, for the user: an address, or two lines with a command and an address; empty when
            nothing is tracked.
    """

    run_id: str
    location: str

    def parameters(self, flat: Mapping[str, Any]) -> None:
        """Log the run's parameters, such as :func:`hmdc_ray.config.io.flatten` gives them; they cannot change later."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log values at a step, by names such as ``loss/vit``; they may be NaN or infinite."""

    def last_step(self, name: str) -> int:
        """The last step that a run gone on with holds a value of this name for, 0 if none; waits for the server."""

    def image(self, name: str, array_HWC: npt.NDArray[np.uint8], step: int) -> None:
        """Log a picture (H, W, 3) or (H, W, 1), 0 to 255, as one of a series over the steps."""

    def dataset(self, name: str, source: str, fingerprint: str, schema: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        """Log the data set as the run's input.

        Args:
            name: the data set's name.
            source: where it was read from.
            fingerprint: hash of its content.
            schema: kind of each column, such as ``{"image": "uint8 32x32x3"}``.
            sizes: numbers worth showing, such as images per split.
        """

    def artifacts(self, paths: Iterable[Path]) -> None:
        """Store files, and folders with what they hold, with the run."""

    def finish(self, status: Status) -> None:
        """Send what is left and close the run; waits for at most :data:`FINISH_SECONDS`. Harmless when repeated."""


class NoTracker:
    """Tracks nothing: ``tracking.enabled`` is false."""

    run_id = ""
    location = ""

    def parameters(self, flat: Mapping[str, Any]) -> None:
        """Do nothing."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Do nothing."""

    def last_step(self, name: str) -> int:
        """0: nothing is held."""
        return 0

    def image(self, name: str, array_HWC: npt.NDArray[np.uint8], step: int) -> None:
        """Do nothing."""

    def dataset(self, name: str, source: str, fingerprint: str, schema: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        """Do nothing."""

    def artifacts(self, paths: Iterable[Path]) -> None:
        """Do nothing."""

    def finish(self, status: Status) -> None:
        """Do nothing."""


class Tracker:
    """A run in MLflow; see :class:`Tracking`. Made by :meth:`open`.

    Faults of the server after the start are warned of once, in the log; what could not be sent is lost.
    """

    def __init__(self, client: MlflowClient, run_id: str, location: str) -> None:
        self.run_id = run_id
        self.location = location
        self._client = client
        self._jobs: queue.Queue[list[Metric] | Callable[[], object] | None] = queue.Queue()
        self._warned = False
        self._finished = False
        self._thread = threading.Thread(target=self._send_jobs, name="tracking", daemon=True)
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
        """Start a run, or go on with one. Takes seconds: mlflow is imported, and a new database migrated.

        Args:
            config: the address is ``config.uri``, else MLFLOW_TRACKING_URI, else ``mlflow.db`` beside ``folder``, with
                the artifacts in ``mlruns/`` there.
            run_name: the run's name in MLflow.
            folder: the run's folder.
            tags: more tags; the version of this package, the user and the git commit are added.
            run_id: the run to go on with; when MLflow does not know it any more, a new one is started, with a warning.
            parent: id of the run that a new run is a child of, such as a search's.

        Raises:
            InputError: the server cannot be reached, or does not accept the run.
        """
        uri = config.uri or os.environ.get("MLFLOW_TRACKING_URI")
        field = "tracking.uri" if config.uri or not uri else "MLFLOW_TRACKING_URI"
        artifacts = None if uri else (folder.absolute().parent / "mlruns").as_uri()
        uri = uri or f"{_SQLITE}{folder.absolute().parent / 'mlflow.db'}"
        _require_answer(uri, field)
        for variable, value in _ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mlflow's, about its own dependencies
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
            from sqlalchemy.exc import SQLAlchemyError
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # one warning for each retry

        try:
            # Processes that open a new database at once would all try to migrate it.
            with locked(_lock_file(uri)) if uri.startswith(_SQLITE) else nullcontext():
                client = MlflowClient(tracking_uri=uri)
                experiment = _experiment(client, config.experiment, artifacts)
            run = _reopened(client, run_id) if run_id else None
            if run is None:
                run = client.create_run(experiment, run_name=run_name, tags={**_system_tags(), **tags, **_child_tags(parent)})
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise InputError(
                f"{field} {_shown(uri)!r} cannot be used: {_reason(error)}: must be a working MLflow store; {_ADVICE}"
            ) from error
        return cls(client, run.info.run_id, _location(uri, run))

    def parameters(self, flat: Mapping[str, Any]) -> None:
        """See :meth:`Tracking.parameters`."""
        from mlflow.entities import Param

        params = [Param(_key(name), str(value)[:6000]) for name, value in flat.items()]
        for start in range(0, len(params), PARAMETERS_PER_CALL):
            part = params[start : start + PARAMETERS_PER_CALL]
            self._jobs.put(partial(self._client.log_batch, self.run_id, params=part))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See :meth:`Tracking.metrics`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._jobs.put([Metric(_key(name), float(value), now, step) for name, value in values.items()])

    def last_step(self, name: str) -> int:
        """See :meth:`Tracking.last_step`."""
        history: list[Metric] = []
        self._attempt(lambda: history.extend(self._client.get_metric_history(self.run_id, _key(name))))
        return max((metric.step for metric in history), default=0)

    def image(self, name: str, array_HWC: npt.NDArray[np.uint8], step: int) -> None:
        """See :meth:`Tracking.image`."""
        assert array_HWC.dtype == np.uint8 and array_HWC.ndim == 3, (array_HWC.dtype, array_HWC.shape)
        picture = array_HWC.copy()
        key = _key(name).replace(":", "_")
        self._jobs.put(partial(self._client.log_image, self.run_id, picture, key=key, step=step, synchronous=True))

    def dataset(self, name: str, source: str, fingerprint: str, schema: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        """See :meth:`Tracking.dataset`."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        columns = [{"name": column, "type": kind, "required": True} for column, kind in schema.items()]
        dataset = Dataset(
            name=name,
            digest=fingerprint[:36],  # MLflow's limit
            source_type="local",
            source=json.dumps({"uri": source}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps(dict(sizes)),
        )
        entry = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
        self._jobs.put(partial(self._client.log_inputs, self.run_id, datasets=[entry]))

    def artifacts(self, paths: Iterable[Path]) -> None:
        """See :meth:`Tracking.artifacts`."""
        for path in paths:
            if path.is_dir():
                self._jobs.put(partial(self._client.log_artifacts, self.run_id, str(path), path.name))
            else:
                self._jobs.put(partial(self._client.log_artifact, self.run_id, str(path)))

    def finish(self, status: Status) -> None:
        """See :meth:`Tracking.finish`."""
        if self._finished:
            return
        self._finished = True
        self._jobs.put(partial(self._client.set_terminated, self.run_id, status))
        self._jobs.put(None)
        self._thread.join(FINISH_SECONDS[status])
        if self._thread.is_alive():
            self._warn("the server takes too long to answer")

    def _send_jobs(self) -> None:
        """The thread: do the jobs in order; metrics are collected for a while and sent together."""
        values: list[Metric] = []
        due = 0.0
        while True:
            try:
                job = self._jobs.get(timeout=max(0.0, due - time.monotonic()) if values else None)
            except queue.Empty:
                job = []
            if isinstance(job, list):
                due = due if values else time.monotonic() + FLUSH_SECONDS
                values += job
                if len(values) < FLUSH_VALUES and time.monotonic() < due:
                    continue
            for start in range(0, len(values), VALUES_PER_CALL):
                self._attempt(partial(self._client.log_batch, self.run_id, values[start : start + VALUES_PER_CALL]))
            values = []
            if job is None:
                return
            if not isinstance(job, list):
                self._attempt(job)

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # whatever a store raises, it must not end the run
            self._warn(_reason(error))

    def _warn(self, reason: str) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        _logger.log(level, "MLflow records of this run are incomplete (%s); the run goes on", reason)


def _key(name: str) -> str:
    """The name with characters that MLflow refuses replaced."""
    return re.sub(r"[^A-Za-z0-9_\-./: ]", "_", name)[:250]


def _shown(uri: str) -> str:
    """The address without a user's name and password."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _reason(error: Exception) -> str:
    """The error in at most 200 characters of its first line."""
    return textwrap.shorten(_shown(str(error).partition("\n")[0] or repr(error)), 200)


def _location(uri: str, run: Run) -> str:
    page = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    if uri.startswith(("http://", "https://")):
        return f"{_shown(uri).rstrip('/')}/{page}"
    return f"mlflow ui --backend-store-uri {shlex.quote(_shown(uri))}\nthen open http://127.0.0.1:5000/{page}"


def _lock_file(uri: str) -> Path:
    return Path(uri.removeprefix(_SQLITE).partition("?")[0] + ".lock")


def _require_answer(uri: str, field: str) -> None:
    """Ask an HTTP server, whose address ``field`` gave, for its health. Any answer will do.

    MLflow itself would try for a long time.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        urllib.request.urlopen(f"{_shown(uri).rstrip('/')}/health", timeout=10).close()  # noqa: S310  # http or https
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLError):  # MLflow has its own settings for certificates
            raise InputError(
                f"{field} {_shown(uri)!r} does not answer ({reason}): is the MLflow server running? Start it, {_ADVICE}"
            ) from None


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """Id of the experiment, made if need be."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_experiment_by_name(name)
        return found.experiment_id if found else client.create_experiment(name, artifact_location=artifacts)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        found = client.get_experiment_by_name(name)  # made by another process in between
        assert found is not None
        return found.experiment_id


def _reopened(client: MlflowClient, run_id: str) -> Run | None:
    """The run, running again; None when MLflow does not know it, or it was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        client.update_run(run_id, status="RUNNING")
        return client.get_run(run_id)
    except MlflowException as error:
        _logger.warning("MLflow cannot go on with run %s (%s); a new one is started", run_id, _reason(error))
        return None


def _child_tags(parent: str | None) -> dict[str, str]:
    return {"mlflow.parentRunId": parent} if parent else {}


def _system_tags() -> dict[str, str]:
    tags = {"hmdc_ray.version": importlib.metadata.version("hmdc-ray")}
    with suppress(KeyError, OSError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    git = shutil.which("git")
    if git is not None:
        answer = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True)  # noqa: S603  # fixed arguments
        if answer.returncode == 0:
            tags["mlflow.source.git.commit"] = answer.stdout.strip()
    return tags
