"""The journal gives back what was put in, whatever happened to the process or the disk in between."""

from __future__ import annotations

import errno
import io
import math
from pathlib import Path
from typing import Any

import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.tracking import journal as module
from hmdc_ray.tracking.journal import BATCH_VALUES, Journal, JournalInUseError, read_destination
from hmdc_ray.tracking.records import Artifact, Destination, Ending, Metrics, Parameters, Picture, Record

HERE = Destination(run_id="1", uri="http://127.0.0.1:1")
RECORDS: list[Record] = [
    Parameters(values={"a": "ü\n"}),
    Metrics(step=1, time=10, values={"loss": 0.1, "nan": math.inf}),
    Metrics(step=2, time=20, values={"loss": 1 / 3}),
    Picture(name="images", step=2, stem="images+2"),
    Metrics(step=3, time=30, values={"loss": -math.inf}),
    Artifact(path="config.yaml"),
    Ending(status="KILLED", time=40),
]
BATCHES = [RECORDS[0:1], RECORDS[1:3], RECORDS[3:4], RECORDS[4:5], RECORDS[5:6], RECORDS[6:7]]


def filled(folder: Path, *, kept: bool = True) -> Journal:
    journal = Journal(folder)
    for record in RECORDS[:2]:
        journal.append(record)
    if kept:
        journal.keep(HERE)
    for record in RECORDS[2:]:
        journal.append(record)
    return journal


def drain(journal: Journal, limit: int = 100) -> list[list[Record]]:
    """Send up to ``limit`` batches."""
    batches: list[list[Record]] = []
    while len(batches) < limit and (batch := journal.unsent()):
        batches.append(list(batch.records))
        journal.sent(batch)
    return batches


@pytest.mark.parametrize("kept", [False, True])
def test_records_come_in_order_and_metrics_together(tmp_path: Path, kept: bool) -> None:
    journal = filled(tmp_path / "tracking", kept=kept)
    assert journal.left == len(RECORDS)
    assert drain(journal) == BATCHES
    assert journal.left == 0 and journal.unsent() is None
    journal.append(RECORDS[1])
    assert drain(journal) == [[RECORDS[1]]]
    assert (tmp_path / "tracking").exists() == kept


def test_what_was_sent_from_memory_is_not_sent_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "tracking")
    for record in RECORDS[:2]:
        journal.append(record)
    assert drain(journal) == [RECORDS[:1], RECORDS[1:2]]
    journal.keep(HERE)
    journal.append(RECORDS[2])
    journal.close()
    assert drain(Journal.reopen(tmp_path / "tracking")) == [[RECORDS[2]]]


def test_not_a_number_comes_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "tracking")
    journal.append(Metrics(step=0, time=0, values={"nan": math.nan}))
    ((record,),) = drain(journal)
    assert isinstance(record, Metrics) and math.isnan(record.values["nan"])


def test_a_batch_is_no_larger_than_mlflow_takes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "tracking")
    for step in range(BATCH_VALUES):
        journal.append(Metrics(step=step, time=0, values={str(index): 0.0 for index in range(7)}))
    sizes = [sum(len(record.values) for record in batch if isinstance(record, Metrics)) for batch in drain(journal)]
    assert max(sizes) <= BATCH_VALUES and sum(sizes) == 7 * BATCH_VALUES
    assert len(sizes) == math.ceil(BATCH_VALUES / (BATCH_VALUES // 7))


@pytest.mark.parametrize("sent", range(len(BATCHES) + 1))
def test_what_is_not_sent_is_there_when_it_is_opened_again(tmp_path: Path, sent: int) -> None:
    journal = filled(tmp_path / "tracking")
    drain(journal, sent)
    journal.close()
    with (tmp_path / "tracking" / "records.jsonl").open("ab") as file:
        file.write(b'{"kind":"metrics","st')  # the process was killed
    again = Journal.reopen(tmp_path / "tracking")
    assert again.recorded == {
        ("metrics", 1): {"loss", "nan"},
        ("metrics", 2): {"loss"},
        ("metrics", 3): {"loss"},
        ("picture", 2): {"images"},
    }
    again.append(RECORDS[0])
    assert drain(again) == [*BATCHES[sent:], [RECORDS[0]]]


def test_what_is_left_out_stays_unsent(tmp_path: Path) -> None:
    journal = filled(tmp_path / "tracking")
    first = journal.unsent()
    assert first is not None
    journal.leave_out(first)
    assert drain(journal) == BATCHES[1:]
    assert journal.left == 1
    journal.close()
    assert drain(Journal.reopen(tmp_path / "tracking")) == BATCHES[:1]


def test_an_ending_does_not_count_for_a_run_that_goes_on(tmp_path: Path) -> None:
    filled(tmp_path / "tracking").close()
    journal = Journal.reopen(tmp_path / "tracking")
    journal.forget_endings()
    assert drain(journal) == BATCHES[:-1]


def test_a_long_line_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_READ_BYTES", 7)
    assert drain(filled(tmp_path / "tracking")) == BATCHES


def test_a_new_journal_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    filled(tmp_path / "tracking").close()
    (tmp_path / "tracking" / "old.png").write_bytes(b"")
    journal = Journal(tmp_path / "tracking")
    journal.append(RECORDS[0])
    journal.keep(Destination(run_id="2", uri=None))
    assert drain(journal) == [[RECORDS[0]]]
    assert {path.name for path in (tmp_path / "tracking").iterdir()} == {"run.json", "records.jsonl", "sent.jsonl"}
    assert read_destination(tmp_path / "tracking") == Destination(run_id="2", uri=None)


def test_another_run_gets_everything(tmp_path: Path) -> None:
    journal = filled(tmp_path / "tracking")
    drain(journal)
    journal.close()
    moved = Journal.reopen(tmp_path / "tracking")
    moved.address(HERE.model_copy(update={"uri": "http://127.0.0.1:2"}))
    assert moved.left == 0
    moved.address(Destination(run_id="2", uri=None))
    assert drain(moved) == BATCHES


def test_one_process_at_a_time(tmp_path: Path) -> None:
    journal = filled(tmp_path / "tracking")
    with pytest.raises(JournalInUseError, match="tracking is in use: another process is sending its records"):
        Journal.reopen(tmp_path / "tracking")
    journal.close()
    Journal.reopen(tmp_path / "tracking").close()


def test_a_full_disk_stops_the_journal_not_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "tracking")
    journal.keep(HERE)
    for record in RECORDS[:3]:
        journal.append(record)
    drain(journal, 1)

    def full(file: Any, data: bytes) -> None:
        if isinstance(file, io.FileIO):
            file.write(data[:5])
            raise OSError(errno.ENOSPC, "No space left on device")
        file.write(data)

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        journal.append(RECORDS[3])
    for record in RECORDS[4:]:
        journal.append(record)
    assert drain(journal) == BATCHES[1:]
    monkeypatch.undo()
    again = Journal.reopen(tmp_path / "tracking")
    assert (again.left, again.unsent()) == (0, None), "the first three lines are whole, and have been sent"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("records.jsonl", b'{"kind":"other"}\n', "records.jsonl line 1 is .*other.*must be a record for MLflow"),
        ("records.jsonl", b"\xff\xfe\n", "records.jsonl line 1 is .*must be a record for MLflow"),
        ("records.jsonl", b'{"kind":"picture","name":"a","step":1,"stem":"../x"}\n', "must be a record for MLflow"),
        ("sent.jsonl", b'{"first":0}\n', "must be the numbers 'first' and 'last'"),
        ("sent.jsonl", b"[]\n", "sent.jsonl line 1 .*must be a JSON object"),
    ],
)
def test_damage_is_named(tmp_path: Path, file: str, content: bytes, message: str) -> None:
    filled(tmp_path / "tracking").close()
    (tmp_path / "tracking" / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        Journal.reopen(tmp_path / "tracking")


def test_a_damaged_destination_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"run\.json is damaged"):
        read_destination(tmp_path)
    assert read_destination(tmp_path / "nowhere") is None
    with pytest.raises(InputError, match=r"records.jsonl cannot be read: No such file"):
        Journal.reopen(tmp_path / "nowhere")
