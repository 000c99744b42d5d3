"""What is sent to MLflow: one record is one line of the journal.

A record holds everything that its sending needs, times included, so that it can be sent at any later time, and again,
with the same result.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from hmdc_ray.tracking.protocol import Status

LONGEST_KEY = 250  # MLflow's limit
LONGEST_VALUE = 6000  # MLflow's limit


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Destination(_Line):
    """Where a run's records go.

    Attributes:
        run_id: MLflow's id of the run.
        uri: the store's address, without a password; None for the database beside the run's folder.
    """

    run_id: str = Field(pattern=r"^[A-Za-z0-9]+$")
    uri: str | None


class Parameters(_Line):
    """Parameters by name."""

    kind: Literal["parameters"] = "parameters"
    values: dict[str, str]


class Metrics(_Line):
    """Values at a step.

    Attributes:
        step: 0 or more.
        time: milliseconds since 1970; with name, step and value it makes up MLflow's key of a stored value.
        values: values by name.
    """

    kind: Literal["metrics"] = "metrics"
    step: int
    time: int
    values: dict[str, float]


class Dataset(_Line):
    """The run's input; see :meth:`hmdc_ray.tracking.Tracking.dataset`."""

    kind: Literal["dataset"] = "dataset"
    name: str
    source: str
    fingerprint: str
    columns: dict[str, str]
    sizes: dict[str, int]


class Picture(_Line):
    """One picture of a series.

    Attributes:
        name: name of the series.
        step: 0 or more.
        stem: name, without suffix, of its files in the journal's folder and in MLflow.
    """

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


class Ending(_Line):
    """How the run ended, and when, in milliseconds since 1970."""

    kind: Literal["ending"] = "ending"
    status: Status
    time: int


Record = Metrics | Picture | Parameters | Dataset | Tags | Artifact | Ending
_record: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


def parse_record(line: bytes) -> Record:
    """The record of a line.

    Raises:
        ValueError: it is none.
    """
    return _record.validate_json(line)


def key(name: str) -> str:
    """The name of a metric or parameter, with characters that MLflow refuses replaced."""
    return re.sub(r"[^A-Za-z0-9_\-./: ]", "_", name)[:LONGEST_KEY]
