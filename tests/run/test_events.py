from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hmdc_ray.config.io import EVENTS_FILE
from hmdc_ray.errors import InputError
from hmdc_ray.run.events import EventLog, read_events, tags


def test_events_are_read_back_in_order(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    log = EventLog(tmp_path)
    written = [log.add("started", 0, members=["a", "b"]), log.add("fault", 3, what="worker a died", node="n1")]
    found = read_events(tmp_path)
    assert found == written
    assert [event.kind for event in found] == ["started", "fault"]
    assert found[1].fields == {"what": "worker a died", "node": "n1"}
    assert abs((datetime.fromisoformat(found[0].time) - before).total_seconds()) < 60
    assert found[1].describe() == "fault at step 3: what worker a died, node n1"
    assert read_events(tmp_path / "nowhere") == []


def test_a_run_gone_on_with_appends_after_a_torn_line(tmp_path: Path) -> None:
    EventLog(tmp_path).add("started", 0)
    with (tmp_path / EVENTS_FILE).open("a") as file:
        file.write('{"kind":"checkp')
    assert [event.kind for event in read_events(tmp_path)] == ["started"]
    EventLog(tmp_path).add("started", 2, from_step=2)
    assert [event.step for event in read_events(tmp_path)] == [0, 2]


def test_a_killed_process_leaves_what_it_had_added(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from hmdc_ray.run.events import EventLog\n"
        "log = EventLog(Path(sys.argv[1]))\n"
        "for step in range(20): log.add('cut', step)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], timeout=60, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )
    assert done.returncode == -signal.SIGKILL
    assert [event.step for event in read_events(tmp_path)] == list(range(20))


BAD = ['{"kind":"other","time":"2026-01-01T00:00:00+00:00","step":1}', '{"kind":"cut","time":"now","step":1}']
BAD += ['{"kind":"cut","time":"2026-01-01T00:00:00","step":1}', '{"kind":"cut"}', '{"kind":[],"time":{},"step":"1"}']


@pytest.mark.parametrize("line", BAD)
def test_a_line_that_is_no_event_is_named(line: str, tmp_path: Path) -> None:
    EventLog(tmp_path).add("started", 0)
    with (tmp_path / EVENTS_FILE).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=r"events\.jsonl line 2 has"):
        read_events(tmp_path)


def test_unknown_kinds_and_taken_names_are_programming_errors(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        EventLog(tmp_path).add("party", 0)  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        EventLog(tmp_path).add("cut", 0, time="noon")


def test_tags_count_kinds_and_name_the_last_fault(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    assert tags([]) == {}
    log.add("started", 0)
    for step in (3, 5):
        log.add("fault", step, what="x" * 1000 if step == 3 else "server died")
        log.add("recovered", step, seconds=1.25)
    found = tags(read_events(tmp_path))
    last = found.pop("events.last_fault")
    assert found == {"events.started": "1", "events.fault": "2", "events.recovered": "2", "events.seconds_lost": "2.5"}
    assert last.endswith("fault at step 5: what server died")
    assert len(tags(read_events(tmp_path)[:2])["events.last_fault"]) == 500


def test_a_record_is_one_plain_line(tmp_path: Path) -> None:
    EventLog(tmp_path).add("quarantined", 7, member="vit", reason="a\nb")
    (line,) = (tmp_path / EVENTS_FILE).read_text().splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("+00:00")
    assert record == {"kind": "quarantined", "step": 7, "member": "vit", "reason": "a\nb"}
