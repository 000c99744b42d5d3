"""What a run tells its tracker, in files of the run's folder::

    metrics.jsonl            metrics of the steps, a line each, which the run itself writes
    tracking/records.jsonl   all other records, a line each
    tracking/*.png, *.webp   pictures that have not arrived
    tracking/run.json        the TrackedRun

A record holds everything that its sending needs, times included, so that it can be sent at any
later time, and again, with the same result.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hmdc_ray.errors import InputError
from hmdc_ray.system.files import named_errors, require_regular

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

STEPS = "metrics.jsonl"
FOLDER = "tracking"
RECORDS = f"{FOLDER}/records.jsonl"
RUN = f"{FOLDER}/run.json"

LONGEST_KEY = 250  # MLflow's limit
LONGEST_VALUE = 6000  # MLflow's limit
_POSITION = ("step", "iteration", "members", "time")
"""Entries of a line of metrics.jsonl that say which step it is of; all others are metrics."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class TrackedRun(_Line):
    """A run, and how much of it has been sent.

    Attributes:
        key: random name, by which a tracker and pictures know the run before it has an id.
        time: milliseconds since 1970 at which it began.
        name: the run's name.
        experiment: name of MLflow's experiment.
        tags: tags that it begins with.
        uri: the store's address, without a password; None for the database beside the run's folder.
        run_id: MLflow's id of the run; None as long as there is none.
        step: last step of ``metrics.jsonl`` that was sent. A resume cuts that file, so bytes would
            not do.
        sent: bytes of ``records.jsonl`` that were sent.
    """

    key: str = Field(pattern=r"^[0-9a-f]{32}$")
    time: int
    name: str
    experiment: str
    tags: dict[str, str]
    uri: str | None = None
    run_id: str | None = Field(None, pattern=r"^[A-Za-z0-9]+$")
    step: int = 0
    sent: int = Field(0, ge=0)


class Parameters(_Line):
    """Parameters by name."""

    kind: Literal["parameters"] = "parameters"
    values: dict[str, str]


class Metrics(_Line):
    """Values by name at a step, 0 or more; time in milliseconds since 1970."""

    kind: Literal["metrics"] = "metrics"
    step: int
    time: int
    values: dict[str, float]


class Dataset(_Line):
    """The run's input; see :meth:`hmdc_ray.tracking.Recorder.dataset`."""

    kind: Literal["dataset"] = "dataset"
    name: str
    source: str
    fingerprint: str
    columns: dict[str, str]
    sizes: dict[str, int]


class Picture(_Line):
    """One picture of a series, in files in ``tracking/`` with the name ``stem`` and two
    suffixes."""

    kind: Literal["picture"] = "picture"
    name: str
    step: int
    stem: str = Field(pattern=r"^[^/\\]+$")


class Tags(_Line):
    """Tags by name; a later value replaces an earlier one."""

    kind: Literal["tags"] = "tags"
    values: dict[str, str]


class Artifact(_Line):
    """A file or folder to be stored with the run, by its path within the run's folder."""

    kind: Literal["artifact"] = "artifact"
    path: str


class State(_Line):
    """That the run runs, or how it ended, since when, in milliseconds since 1970; only a run's last
    one is sent."""

    kind: Literal["state"] = "state"
    status: Status
    time: int


Record = Metrics | Picture | Parameters | Dataset | Tags | Artifact | State
Line = TypeVar("Line")
_record: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


def key(name: str) -> str:
    """The name of a metric or parameter, with characters that MLflow refuses replaced."""
    return re.sub(r"[^A-Za-z0-9_\-./: ]", "_", name)[:LONGEST_KEY]


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def size(path: Path) -> int:
    """Bytes of a file; 0 when there is none."""
    return path.stat().st_size if path.exists() else 0


def read_run(folder: Path) -> TrackedRun | None:
    """The run that a run's folder tracks; None when it tracks none.

    Raises:
        InputError: its file cannot be read, or holds something else.
    """
    path = folder / RUN
    if not path.exists():
        return None
    try:
        with named_errors(path, "read"):
            return TrackedRun.model_validate_json(path.read_bytes())
    except ValidationError:
        raise InputError(f"{path} is damaged: must say which run of an MLflow store it is, and what was sent of it") from None


def unsent(folder: Path, run: TrackedRun, place: int = 0) -> Iterator[tuple[Record, dict[str, int], int]]:
    """The records that have not been sent, steps first, without a last line torn by a crash.

    Each comes with the fields of :class:`TrackedRun` to be set once it was sent, and with the byte
    of ``metrics.jsonl`` before which all lines were sent then, as all were before byte ``place``.

    Raises:
        InputError: a file cannot be read, or a line holds no record.
    """

    def step(line: bytes) -> Metrics | None:
        entries: dict[str, Any] = json.loads(line)
        if entries["step"] <= run.step:  # sent, or done again by a resumed run
            return None
        values = {key(name): value for name, value in entries.items() if name not in _POSITION}
        return Metrics(step=entries["step"], time=entries.get("time", run.time), values=values)

    end = place
    for end, metrics in _parsed(folder / STEPS, place, step):
        if metrics is not None:
            yield metrics, {"step": metrics.step}, end
    start = run.sent if size(folder / RECORDS) >= run.sent else 0
    others = list(_parsed(folder / RECORDS, start, _record.validate_json))
    last = max((sent for sent, record in others if isinstance(record, State)), default=0)
    for sent, record in others:
        if not isinstance(record, State) or sent == last:
            yield record, {"sent": sent}, end


def count_unsent(folder: Path) -> int:
    """Number of records of a run that have not been sent; 0 when it is not tracked.

    Raises:
        InputError: the folder's files are damaged.
    """
    run = read_run(folder)
    return sum(1 for _ in unsent(folder, run)) if run else 0


def _parsed(path: Path, start: int, parse: Callable[[bytes], Line]) -> Iterator[tuple[int, Line]]:
    """What a file's whole lines hold from a byte on, each with the byte of its end; nothing when
    there is no file."""
    if not path.exists():
        return
    with named_errors(path, "read"):
        require_regular(path)
        file = path.open("rb")
    with file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):  # torn by a crash, or being written
                return
            start += len(line)
            try:
                record = parse(line)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                raise InputError(f"{path} before byte {start} is {line[:60]!r}: must be a record for the tracker") from None
            yield start, record
