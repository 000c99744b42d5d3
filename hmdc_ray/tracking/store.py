"""The MLflow store: its address, the client for it, its experiments.

mlflow takes seconds to import, so it is imported in functions.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import socket
import ssl
import textwrap
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hmdc_ray.errors import InputError
from hmdc_ray.system.files import atomic_path
from hmdc_ray.system.locks import locked

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

ADDRESS_VARIABLE = "MLFLOW_TRACKING_URI"
_SQLITE, _SQLITE_QUOTED = "sqlite:///", "sqlite+pysqlite:///"
ANSWER_SECONDS = 10.0
"""How long a store may take to answer."""

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
"""Of the database servers that MLflow knows, where the address names none."""

_ENVIRONMENT = {  # a value that the user has set wins
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # MLflow's own seven take minutes, and the tracker tries again itself
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_ADVICE = "give another address (tracking.uri or MLFLOW_TRACKING_URI), or track nothing (tracking.enabled=false)"


@dataclass(frozen=True)
class Address:
    """Where a store is.

    Attributes:
        uri: address as MLflow takes it.
        field: source of the address, for messages: ``tracking.uri``, ``MLFLOW_TRACKING_URI``, a
            file.
        is_default: nothing gave it.
    """

    uri: str
    field: str
    is_default: bool = False

    @classmethod
    def chosen(cls, uri: str | None, folder: Path, field: str = "tracking.uri") -> Address:
        """``uri``, which ``field`` gave, else MLFLOW_TRACKING_URI, else ``mlflow.db`` beside the
        run's folder."""
        if uri:
            return cls(uri, field)
        if os.environ.get(ADDRESS_VARIABLE):
            return cls(os.environ[ADDRESS_VARIABLE], ADDRESS_VARIABLE)
        return cls(_sqlite(folder.absolute().parent / "mlflow.db"), field, is_default=True)

    @property
    def shown(self) -> str:
        """The address without a user's name and password."""
        return without_password(self.uri)

    @property
    def remembered(self) -> str | None:
        """The address to be written down, which holds in any folder; None for the default, which
        moves with the runs."""
        if self.is_default:
            return None
        return _sqlite(self.database) if self.database else self.shown

    @property
    def database(self) -> Path | None:
        """The file of an SQLite database, absolute; None for anything else."""
        if not self.uri.startswith((_SQLITE, _SQLITE_QUOTED)):
            return None
        path: str | None = self.uri.partition(":///")[2].partition("?")[0]
        if "%" in self.uri:  # which versions of SQLAlchemy take for different files
            from sqlalchemy import make_url

            path = make_url(self.uri).database
        return Path(path or "").absolute()

    @property
    def is_server(self) -> bool:
        """Whether it is asked over HTTP."""
        return self.uri.startswith(("http://", "https://"))

    def page(self, run: Run) -> str:
        """How to look at a run: an address, or two lines with a command and an address."""
        page = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}?workflowType=machine_learning"
        if self.is_server:
            return f"{self.shown.rstrip('/')}/{page}"
        return f"mlflow ui --backend-store-uri {shlex.quote(self.shown)}\nthen open http://127.0.0.1:5000/{page}"


def _sqlite(path: Path) -> str:
    """The address of a database file. Where ``?`` and ``%`` must be quoted, it names the driver
    too: without one, MLflow would make a folder of the quoted path."""
    quoted = str(path).replace("%", "%25").replace("?", "%3F")
    return f"{_SQLITE if quoted == str(path) else _SQLITE_QUOTED}{quoted}"


@contextmanager
def named_errors(address: Address) -> Iterator[None]:
    """Turn what a store raises into one line that names its address.

    Raises:
        InputError: in place of an error of MLflow, the database or the network.
    """
    prepare()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise InputError(
            f"{address.field} {address.shown!r} cannot be used: {reason(error)}: must be a working MLflow store; {_ADVICE}"
        ) from error


def prepare() -> None:
    """Import mlflow, quiet and with short waits; takes seconds."""
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow's, about its own dependencies
        import mlflow.tracking  # noqa: F401
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # one warning for each retry


def connect(address: Address) -> MlflowClient:
    """A client for the store; a new database is made, and an old one migrated.

    Raises:
        InputError: the store cannot be used.
    """
    check_store(address)
    with named_errors(address):
        from mlflow.tracking import MlflowClient

        database = address.database
        lock = database.with_name(database.name + ".lock") if database else None
        # Processes that open a new database at once would all try to migrate it.
        with locked(lock, "opens the same MLflow database") if lock else nullcontext():
            if database is not None and not database.exists():
                # One that ends meanwhile must not leave a half of it, which no later process could
                # open.
                with atomic_path(database) as made:
                    MlflowClient(tracking_uri=_sqlite(made))
            return MlflowClient(tracking_uri=address.uri)


def experiment_id(client: MlflowClient, name: str, address: Address) -> str:
    """Id of the experiment, made if need be, with its artifacts in ``mlruns`` beside an SQLite
    database."""
    from mlflow.exceptions import MlflowException

    artifacts = (address.database.parent / "mlruns").as_uri() if address.database else None
    try:
        found = client.get_experiment_by_name(name)
        return found.experiment_id if found else client.create_experiment(name, artifact_location=artifacts)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        found = client.get_experiment_by_name(name)  # made by another process in between
        assert found is not None
        return found.experiment_id


def http_status(error: MlflowException) -> int:
    """What a server that fails so answers: below 500, asking again gets the same answer."""
    status: Any = error.get_http_status_code  # untyped
    return int(status())


def without_password(text: str) -> str:
    """The text with users' names and passwords taken out of addresses."""
    return re.sub(r"//[^/@]*@", "//", text)


def reason(error: Exception) -> str:
    """The error in at most 200 characters of its first line."""
    return textwrap.shorten(without_password(str(error).partition("\n")[0] or repr(error)), 200)


def check_store(address: Address) -> None:
    """Ask an HTTP server for its health, any answer will do, and a database server for a
    connection; look for the folder of a database file. mlflow is not imported.

    MLflow itself would try for a long time.

    Raises:
        InputError: there is no answer within 10 s, or no folder.
    """
    database = address.database
    if database is not None and not database.parent.is_dir():
        raise InputError(
            f"{address.field} {address.shown!r} cannot be used: there is no folder {str(database.parent)!r}; {_ADVICE}"
        )
    if database is not None and database.exists() and not database.is_file():
        raise InputError(f"{address.field} {address.shown!r} cannot be used: {str(database)!r} is not a file; {_ADVICE}")
    try:
        if address.is_server:
            _ask_health(address.uri)
        elif database is None:
            _ask_connection(address.uri)
    except (OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        if not isinstance(cause, ssl.SSLError):  # MLflow has its own settings for certificates
            raise InputError(
                f"{address.field} {address.shown!r} does not answer ({cause}):"
                f" is the MLflow server running? Start it, {_ADVICE}"
            ) from None


def _ask_health(uri: str) -> None:
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(f"{without_password(uri).rstrip('/')}/health", timeout=ANSWER_SECONDS).close()  # noqa: S310  # http or https


def _ask_connection(uri: str) -> None:
    parts = urlsplit(uri)
    port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname and port:
        socket.create_connection((parts.hostname, port), timeout=ANSWER_SECONDS).close()
