"""The files that a run is sent from are read as far as they are whole, and named where they are
damaged."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.system.files import append_json_line
from hmdc_ray.tracking import count_unsent
from hmdc_ray.tracking.records import Metrics, Parameters, Picture, State, key, read_run, unsent
from tracking.mlflow_server import StubTracker, steps


@pytest.fixture
def tracked(run: Path) -> Path:
    StubTracker().sender(run).save({})
    return run


def test_records_come_back(tracked: Path) -> None:
    records = [Parameters(values={"a": "ü\n"}), Picture(name="a", step=2, stem="a+2"), State(status="KILLED", time=4)]
    for record in records:
        append_json_line(tracked / "tracking" / "records.jsonl", record.model_dump())
    append_json_line(tracked / "metrics.jsonl", {"step": 1, "members": {"a": 1}, "time": 9, "odd=": math.nan, "b": math.inf})
    append_json_line(tracked / "metrics.jsonl", {"step": 2, "iteration": 3})  # without a time: when the run began
    run = read_run(tracked)
    assert run is not None
    first, second, *others = (record for record, _, _ in unsent(tracked, run))
    assert isinstance(first, Metrics) and (first.step, first.time) == (1, 9)
    assert first.values["b"] == math.inf and math.isnan(first.values["odd_"])
    assert second == Metrics(step=2, time=run.time, values={})
    assert others == records
    assert key("a=b:c") == "a_b:c"


def test_what_is_not_tracked_lacks_nothing(run: Path) -> None:
    steps(run, 1)
    assert read_run(run) is None and count_unsent(run) == 0


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tracking/records.jsonl", b'{"kind":"other"}\n', "records.jsonl before byte 17 is .*other.*must be a record"),
        ("tracking/records.jsonl", b"\xff\xfe\n", "records.jsonl before byte 3 is .*must be a record"),
        ("tracking/records.jsonl", b'{"kind":"picture","name":"a","step":1,"stem":"../x"}\n', "must be a record"),
        ("metrics.jsonl", b"[]\n", "metrics.jsonl before byte 3 is .*must be a record"),
        ("metrics.jsonl", b"garbage\n", "metrics.jsonl before byte 8 is .*must be a record"),
        ("metrics.jsonl", b'{"loss":1.0}\n', "must be a record"),
        ("tracking/run.json", b"{}", r"run\.json is damaged: must say which run"),
    ],
)
def test_damage_is_named(tracked: Path, file: str, content: bytes, message: str) -> None:
    (tracked / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        count_unsent(tracked)
