"""A run in MLflow; see :class:`hmdc_ray.tracking.protocol.Tracker`. Whatever is sent again changes
nothing there.

MLflow stores a value once for a name, step, time and value, and files under their names.
"""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import logging
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hmdc_ray.tracking.protocol import Value
from hmdc_ray.tracking.records import Dataset, Status, TrackedRun
from hmdc_ray.tracking.store import Address, connect, experiment_id, http_status, named_errors, reason

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

PARAMETERS_PER_CALL = 100  # MLflow's limit
LONGEST_DIGEST = 36  # MLflow's limit
PICTURES = "images"
"""The folder of pictures among a run's artifacts."""

KEY = "hmdc_ray.key"
"""The tag by which a run is found whose making was not answered."""

_logger = logging.getLogger(__name__)


class MlflowRun:
    """Starts a run, or continues one. Takes seconds: mlflow is imported, and a new database
    migrated.

    Args:
        address: address of the store.
        run: the run; when MLflow does not know it any more, a new one is started, with a warning.

    Raises:
        InputError: the store cannot be used, or does not accept the run.
    """

    def __init__(self, address: Address, run: TrackedRun) -> None:
        self._client = connect(address)
        with named_errors(address):
            found = _found(self._client, run.run_id) if run.run_id else None
            if found is None:
                experiment = experiment_id(self._client, run.experiment, address)
                same = self._client.search_runs([experiment], f"tags.`{KEY}` = '{run.key}'")
                tags = {**run.tags, KEY: run.key}
                found = same[0] if same else self._client.create_run(experiment, run_name=run.name, tags=tags)
        self.run_id: str = found.info.run_id
        self.location = address.page(found)
        metrics = found.data._metric_objs  # no public name has steps
        self.latest: Mapping[str, int] = {metric.key: metric.step for metric in metrics}

    def parameters(self, values: Mapping[str, str]) -> None:
        """See the protocol."""
        from mlflow.entities import Param

        params = [Param(name, value) for name, value in values.items()]
        for start in range(0, len(params), PARAMETERS_PER_CALL):
            self._client.log_batch(self.run_id, params=params[start : start + PARAMETERS_PER_CALL])

    def metrics(self, values: Sequence[Value]) -> None:
        """See the protocol."""
        from mlflow.entities import Metric

        self._client.log_batch(self.run_id, metrics=[Metric(*value) for value in values])

    def dataset(self, record: Dataset) -> None:
        """See the protocol."""
        from mlflow.entities import Dataset as Entity
        from mlflow.entities import DatasetInput, InputTag

        columns = [{"name": column, "type": kind, "required": True} for column, kind in record.columns.items()]
        entity = Entity(
            name=record.name,
            digest=record.fingerprint[:LONGEST_DIGEST],
            source_type="local",
            source=json.dumps({"uri": record.source}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps(record.sizes),
        )
        self._client.log_inputs(self.run_id, datasets=[DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])

    def tags(self, values: Mapping[str, str]) -> None:
        """See the protocol."""
        for name, value in values.items():
            self._client.set_tag(self.run_id, name, value)

    def image(self, name: str, step: int, files: Sequence[Path]) -> None:
        """As MLflow's ``log_image``, but see :mod:`hmdc_ray.tracking.pictures`: the files' names
        say series and step."""
        from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES

        for file in files:
            self._client.log_artifact(self.run_id, str(file), PICTURES)
        self._client.set_tag(self.run_id, MLFLOW_LOGGED_IMAGES, True)

    def artifact(self, path: Path, name: str) -> None:
        """See the protocol."""
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), name)
        else:
            self._client.log_artifact(self.run_id, str(path), name.rpartition("/")[0] or None)

    def status(self, status: Status, time: int) -> None:
        """See the protocol."""
        if status == "RUNNING":
            self._client.update_run(self.run_id, status)
        else:
            self._client.set_terminated(self.run_id, status, time)

    def refuses(self, error: Exception) -> bool:
        """Whether the store answered that the record is wrong, or it is this side's fault.

        All else may pass: no connection, no answer in time, a server's fault, a full disk, a locked
        database, no permission.
        """
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        if isinstance(error, MlflowException):
            return http_status(error) == 400
        return not isinstance(error, OSError | SQLAlchemyError)


def _found(client: MlflowClient, run_id: str) -> Run | None:
    """The run; None, with a warning, when MLflow does not know it, or it was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_run(run_id)
        cause = found.info.lifecycle_stage
        if cause == "active":
            return found
    except MlflowException as error:
        if http_status(error) != 404:
            raise
        cause = reason(error)
    _logger.warning("MLflow cannot resume run %s (%s); a new one is started", run_id, cause)
    return None


def run_tags(parent: str | None) -> dict[str, str]:
    """Version, user and, where git knows one, the commit of the package's code; the parent run's id
    if there is one.

    MLflow's pages show a commit only beside a source.
    """
    tags = {"mlflow.source.name": "hmdc-ray", "mlflow.source.type": "LOCAL"}
    tags["hmdc_ray.version"] = importlib.metadata.version("hmdc-ray")
    if parent:
        tags["mlflow.parentRunId"] = parent
    with suppress(KeyError, OSError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    git = shutil.which("git")
    if git is not None:
        here = Path(__file__).parent  # of the code: Ray starts trials in folders of their own
        answer = subprocess.run([git, "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True)  # noqa: S603
        if answer.returncode == 0:
            tags["mlflow.source.git.commit"] = answer.stdout.strip()
    return tags
