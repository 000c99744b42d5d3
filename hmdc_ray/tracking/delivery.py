"""Sending the records of a journal; whatever is sent again changes nothing in MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hmdc_ray.errors import InputError
from hmdc_ray.tracking.journal import Batch, Journal
from hmdc_ray.tracking.pictures import PICTURES, picture_files
from hmdc_ray.tracking.records import Artifact, Dataset, Ending, Metrics, Parameters, Picture, Tags
from hmdc_ray.tracking.store import http_status

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

VALUES_PER_CALL = 1000  # MLflow's limit
PARAMETERS_PER_CALL = 100  # MLflow's limit
LONGEST_DIGEST = 36  # MLflow's limit


class Delivery:
    """Sends what a journal holds to a run.

    Args:
        client: client of the store.
        run_id: the run's id in it.
        journal: journal of the run, in whose folder pictures wait and beside which artifacts lie.
    """

    def __init__(self, client: MlflowClient, run_id: str, journal: Journal) -> None:
        self._client = client
        self._run_id = run_id
        self._journal = journal

    def send_unsent(self, refused: Callable[[Exception], None]) -> int:
        """Send everything that has not arrived, in order.

        Args:
            refused: callback that gets the error by which the store refuses a record for good; the record is left out.

        Returns:
            Number of records sent.

        Raises:
            Exception: the store's, when it does not take records now (see :func:`is_refusal`); another try may go on.
        """
        count = 0
        while batch := self._journal.unsent():
            try:
                self._send(batch)
            except Exception as error:
                if not is_refusal(error):
                    raise
                refused(error)
                self._journal.leave_out(batch)
            else:
                self._journal.sent(batch)
                self._forget(batch)
                count += len(batch.records)
        return count

    def _send(self, batch: Batch) -> None:
        match batch.records[0]:
            case Metrics():
                self._metrics([record for record in batch.records if isinstance(record, Metrics)])
            case Picture() as picture:
                self._picture(picture)
            case Parameters() as parameters:
                self._parameters(parameters)
            case Dataset() as dataset:
                self._dataset(dataset)
            case Tags() as tags:
                for name, value in tags.values.items():
                    self._client.set_tag(self._run_id, name, value)
            case Artifact() as artifact:
                self._artifact(artifact)
            case Ending() as ending:
                self._client.set_terminated(self._run_id, ending.status, ending.time)

    def _metrics(self, records: Sequence[Metrics]) -> None:
        from mlflow.entities import Metric

        values = [Metric(name, value, record.time, record.step) for record in records for name, value in record.values.items()]
        for start in range(0, len(values), VALUES_PER_CALL):
            self._client.log_batch(self._run_id, metrics=values[start : start + VALUES_PER_CALL])

    def _parameters(self, record: Parameters) -> None:
        from mlflow.entities import Param

        params = [Param(name, value) for name, value in record.values.items()]
        for start in range(0, len(params), PARAMETERS_PER_CALL):
            self._client.log_batch(self._run_id, params=params[start : start + PARAMETERS_PER_CALL])

    def _dataset(self, record: Dataset) -> None:
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
        self._client.log_inputs(self._run_id, datasets=[DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])

    def _picture(self, record: Picture) -> None:
        """As MLflow's ``log_image``, but see :mod:`hmdc_ray.tracking.pictures`. Files that are gone have arrived before."""
        from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES

        for path in picture_files(self._journal.folder, record):
            if path.exists():
                self._client.log_artifact(self._run_id, str(path), PICTURES)
        self._client.set_tag(self._run_id, MLFLOW_LOGGED_IMAGES, True)

    def _artifact(self, record: Artifact) -> None:
        root = self._journal.folder.parent
        path = root / record.path
        entries = [path, *path.rglob("*")] if path.is_dir() else [path]
        for entry in entries:  # a journal from elsewhere must not have other files of this machine sent
            if not entry.resolve().is_relative_to(root.resolve()):
                raise InputError(f"{entry} lies outside {root}: only files of the run's folder are sent")
        if path.is_dir():
            self._client.log_artifacts(self._run_id, str(path), record.path)
        elif path.exists():
            self._client.log_artifact(self._run_id, str(path), record.path.rpartition("/")[0] or None)
        else:
            raise InputError(f"{path} is gone: it cannot be sent any more")

    def _forget(self, batch: Batch) -> None:
        for record in batch.records:
            if isinstance(record, Picture):
                for path in picture_files(self._journal.folder, record):
                    path.unlink(missing_ok=True)


def is_refusal(error: Exception) -> bool:
    """Whether another try is of no use: the store answered that the record is wrong, or it is this side's fault.

    All else may pass: no connection, no answer in time, a server's fault, a full disk, a locked database, no permission.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        return http_status(error) == 400
    return not isinstance(error, OSError | SQLAlchemyError)
