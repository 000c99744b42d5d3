"""``hmdc status`` says where a run stands from its folder alone, and changes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from whole_runs import CommandLine, condense_here, tiniest, tree

from hmdc_ray.errors import InputError
from hmdc_ray.run.events import EventLog
from hmdc_ray.run.folder import RunFolder
from hmdc_ray.run.status import run_status
from hmdc_ray.system.locks import lock_owner


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("status")
    condense_here(tiniest(folder), folder / "run")
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run without its events."""
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "events.jsonl").unlink(missing_ok=True)
    return tmp_path / "run"


def cut(run: Path, lines: int) -> None:
    file = run / "metrics.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:lines]))


def test_a_finished_run(run: Path, hmdc: CommandLine) -> None:
    before = tree(run)
    found = run_status(run)
    assert (found.state, found.process, found.step, found.total, found.iteration) == ("finished", None, 6, 6, 1)
    assert found.checkpoint == 6 and found.checkpoint_age is not None and found.checkpoint_age < 3600
    assert found.trouble == {} and found.notes == () and found.unsent == 0
    out = hmdc.succeeds("status", "run")
    assert "tiny, finished" in out and "6 of 6, iteration 2 of 2" in out and "resume" not in out
    assert out.isascii() and "\x1b" not in out
    assert tree(run) == before


def test_a_stopped_run_says_how_it_goes_on(run: Path, hmdc: CommandLine) -> None:
    cut(run, 3)
    log = EventLog(run)
    log.add("fault", 2, what="worker lenet died")
    log.add("recovered", 2, seconds=4.0)
    log.add("checkpoint_failed", 3, reason="No space left on device")
    (run / "tracking").mkdir()
    tracked = {"key": "0" * 32, "time": 0, "name": "a", "experiment": "b", "tags": {}, "uri": None, "step": 2, "sent": 0}
    (run / "tracking" / "run.json").write_text(json.dumps(tracked))
    (run / "tracking" / "records.jsonl").write_text('{"kind": "tags", "values": {}}\n{"kind": "ta')
    found = run_status(run)
    assert found.state == "stopped" and found.step == 3 and found.iteration == 0
    assert found.trouble == {"fault": 1, "recovered": 1, "checkpoint_failed": 1}
    assert found.last_trouble is not None and found.last_trouble.kind == "checkpoint_failed"
    assert found.seconds_lost == 4 and found.unsent == 2
    out = hmdc.succeeds("status", "run")
    assert "tiny, stopped" in out and "3 of 6, iteration 1 of 2" in out
    assert "1 fault, 1 recovered, 1 checkpoint failed, 4 s lost" in out
    assert "last: checkpoint failed at step 3: reason No space left on device" in out
    assert "2 records not sent to MLflow: hmdc sync-tracking run" in out
    assert "hmdc condense run --output run --resume" in out


def test_a_run_that_is_alive(run: Path, hmdc: CommandLine) -> None:
    import os

    cut(run, 0)
    folder = RunFolder.claim(run, resume=True)
    try:
        assert lock_owner(run) == str(os.getpid())
        found = run_status(run)
        assert found.state == "running" and found.process == str(os.getpid()) and found.step == 0
        out = hmdc.succeeds("status", "run")
        assert f"running in process {os.getpid()}" in out and "0 of 6" in out and "resume" not in out
    finally:
        folder.release()
    assert lock_owner(run) is None
    RunFolder.claim(run, resume=True).release()


def test_what_is_damaged_is_said_and_does_not_stop_the_rest(run: Path, hmdc: CommandLine) -> None:
    (run / "checkpoint" / "000000006.json").write_text("{")
    (run / "events.jsonl").write_text('{"kind": 3}\n')
    (run / "metrics.jsonl").write_text("garbage\n")
    (run / "tracking").mkdir()
    (run / "tracking" / "run.json").write_text("{}")
    found = run_status(run)
    assert found.checkpoint == 4 and found.step == 0 and len(found.notes) == 4
    out = " ".join(hmdc.succeeds("status", "run").split())
    for text in ("000000006.json is no checkpoint", "events.jsonl line 1 has kind 3", "metrics.jsonl line 1 is b'garbage'"):
        assert text in out


def test_a_journal_of_absurd_receipts_takes_no_memory(run: Path) -> None:
    (run / "tracking").mkdir()
    (run / "tracking" / "records.jsonl").write_text("{}\n")
    (run / "tracking" / "sent.jsonl").write_text(json.dumps({"first": 0, "last": 10**18}) + "\n")
    assert run_status(run).unsent == 0


def test_run_status_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        run_status(tmp_path)
