"""The events of a run, one record per line in ``events.jsonl`` of its folder: for people,
``hmdc status`` and MLflow's tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from hmdc_ray.config.io import EVENTS_FILE
from hmdc_ray.errors import InputError
from hmdc_ray.system.files import LineLog, read_json_lines

Kind = Literal[
    "started",  # or resumed, at a step above 0
    "member_drawn",
    "cut",
    "fault",  # a process or node is gone or does not answer; with the error
    "recovered",  # with seconds lost
    "left_out",  # a target whose gradient was not finite, or a member without resources
    "reset",  # a member was given fresh weights
    "quarantined",
    "checkpoint",
    "checkpoint_failed",
    "finished",
    "stopped",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
TROUBLE: tuple[Kind, ...] = ("fault", "recovered", "left_out", "reset", "quarantined", "checkpoint_failed")
"""Kinds that only a run with trouble has."""

_TAG_LENGTH = 500
_OWN = ("kind", "time", "step")


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: kind of event.
        time: time of the event, ISO 8601, UTC.
        step: image steps done by then.
        fields: further values by name, plain ones.
    """

    kind: Kind
    time: str
    step: int
    fields: Mapping[str, Any]

    def describe(self) -> str:
        """The event on one line, for people: ``fault at step 12: what worker, node b``."""
        fields = ", ".join(f"{name} {value}" for name, value in self.fields.items())
        return f"{self.kind.replace('_', ' ')} at step {self.step}" + (f": {fields}" if fields else "")


class EventLog:
    """Appends to the events of a run, also of a resumed one. A full disk delays events; it never
    stops the run.

    Args:
        folder: the run's folder, to which only this process writes.
    """

    def __init__(self, folder: Path) -> None:
        self._lines = LineLog(folder / EVENTS_FILE)

    def add(self, kind: Kind, step: int, **fields: Any) -> Event:
        """Record an event at this moment, after ``step`` image steps; ``fields`` are plain values
        under other names."""
        assert kind in KINDS and not set(fields) & set(_OWN), (kind, fields)
        event = Event(kind, datetime.now(UTC).isoformat(timespec="milliseconds"), step, fields)
        self._lines.add({"kind": event.kind, "time": event.time, "step": event.step, **fields})
        return event


def read_events(folder: Path) -> list[Event]:
    """The events of a run, in order; none without a file. A last line that was cut off is ignored.

    Raises:
        InputError: the file cannot be read, or a line is no event.
    """
    file = folder / EVENTS_FILE
    return [_event(record, f"{file} line {number}") for number, record in enumerate(read_json_lines(file), start=1)]


def _event(record: dict[str, Any], where: str) -> Event:
    kind, time, step = (record.get(name) for name in _OWN)
    if kind not in KINDS or not isinstance(time, str) or not isinstance(step, int):
        raise InputError(f"{where} has kind {kind!r}, time {time!r} and step {step!r}: must be an event of a run")
    try:
        aware = datetime.fromisoformat(time).tzinfo is not None
    except ValueError:
        aware = False
    if not aware:
        raise InputError(f"{where} has time {time!r}: must be an ISO time with its zone")
    return Event(kind, time, step, {name: value for name, value in record.items() if name not in _OWN})


def seconds_lost(events: Iterable[Event]) -> list[float]:
    """Seconds that each recovery took, in order."""
    seconds = (event.fields.get("seconds") for event in events if event.kind == "recovered")
    return [float(value) for value in seconds if isinstance(value, int | float)]


def tags(events: Iterable[Event]) -> dict[str, str]:
    """Tags for MLflow: ``events.KIND`` with the count of each kind, the last fault, and the seconds
    lost."""
    events = list(events)
    counts = Counter(event.kind for event in events)
    found = {f"events.{kind}": str(counts[kind]) for kind in KINDS if counts[kind]}
    faults = [event for event in events if event.kind == "fault"]
    if faults:
        found["events.last_fault"] = f"{faults[-1].time} {faults[-1].describe()}"[:_TAG_LENGTH]
    lost = seconds_lost(events)
    if lost:
        found["events.seconds_lost"] = f"{sum(lost):.1f}"
    return found
