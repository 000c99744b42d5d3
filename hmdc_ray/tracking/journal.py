"""The journal of a run: what was to be sent to MLflow, line by line, and what MLflow has acknowledged.

It lives in memory until :meth:`Journal.keep` gives it a folder, since a run that cannot start must leave its folder as it
was. From then on a record is in the folder before :meth:`Journal.append` returns::

    tracking/run.json        the Destination
    tracking/records.jsonl   one record a line, locked by the process that sends them
    tracking/sent.jsonl      {"first": 0, "last": 12}: the records with these numbers have arrived
    tracking/*.png, *.webp   pictures that have not

What has arrived without its receipt, because the process or the server died in between, is sent again. That is harmless:
MLflow stores a value once for a name, step, time and value, and files under their names.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hmdc_ray.errors import InputError
from hmdc_ray.system.files import append_json_line, read_json_lines, write_atomically
from hmdc_ray.tracking.records import Destination, Ending, Metrics, Picture, Record, parse_record

RUN = "run.json"
RECORDS = "records.jsonl"
SENT = "sent.jsonl"
BATCH_VALUES = 1000
_READ_BYTES = 1 << 18


class JournalInUseError(InputError):
    """Another process sends the journal's records."""


@dataclass(frozen=True)
class Batch:
    """Records that are sent together: metrics of several steps, or a single one of another kind.

    Attributes:
        first: number of the first record, counted from 0.
        records: the records, at least one.
        end: where the next record begins, in bytes.
    """

    first: int
    records: tuple[Record, ...]
    end: int


class Journal:
    """Appended to by any thread, read by one.

    Attributes:
        folder: where it is kept, or will be.
        kept: whether it is in the folder.
        recorded: series that have a value in a journal opened again, by kind and step.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = False
        self.recorded: dict[tuple[str, int], frozenset[str]] = {}
        self._file: io.BytesIO | io.FileIO = io.BytesIO()
        self._size = 0
        self._count = 0
        self._sent: set[int] = set()
        self._endings: set[int] = set()
        self._next = 0
        self._position = 0
        self._lock = threading.Lock()

    @classmethod
    def reopen(cls, folder: Path) -> Journal:
        """Reopen a journal that another process has left.

        Raises:
            JournalInUseError: another process is using it.
            InputError: there is none, or it is damaged.
        """
        journal = cls(folder)
        path = folder / RECORDS
        try:
            file = journal._file = io.FileIO(path, "r+")
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        try:
            journal._take_lock(file)
            journal._load(file)
        except BaseException:
            file.close()
            raise
        journal.kept = True
        return journal

    def keep(self, destination: Destination) -> None:
        """Move from memory into the folder, in the place of what is there.

        Raises:
            InputError: the folder cannot be written.
        """
        assert not self.kept and isinstance(self._file, io.BytesIO)
        try:
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True)
            self.address(destination)
            with self._lock:
                file = io.FileIO(self.folder / RECORDS, "x+")
                self._take_lock(file)
                _write(file, self._file.getvalue())
                self._file = file
                self.kept = True
                for number in sorted(self._sent):  # from memory, so far
                    self._acknowledge(number, number)
        except OSError as error:
            raise InputError(f"{self.folder} cannot be written: {error.strerror}") from error

    def address(self, destination: Destination) -> None:
        """Say where the records go. All count as unsent if that is another run than before.

        Raises:
            InputError: the folder cannot be written.
        """
        before = read_destination(self.folder)
        if before and before.run_id != destination.run_id:
            (self.folder / SENT).unlink(missing_ok=True)
            self._sent.clear()
        write_atomically(self.folder / RUN, destination.model_dump_json())

    def forget_endings(self) -> None:
        """Count the endings in it as sent: the run goes on."""
        self._sent |= self._endings

    def append(self, record: Record) -> None:
        """Add a record. Without room on the disk the journal goes on in memory.

        Raises:
            OSError: once, when the disk failed; the record is in the memory.
        """
        line = record.model_dump_json().encode() + b"\n"
        with self._lock:
            end = self._file.seek(self._size)
            try:
                _write(self._file, line)
            except OSError:
                self._go_on_in_memory(line)
                raise
            finally:
                self._size = end + len(line)
                self._count += 1

    def unsent(self) -> Batch | None:
        """The next records that are neither sent nor left out; None when there are no more for now.

        Raises:
            InputError: a line holds no record.
        """
        records: list[Record] = []
        end, values = self._position, 0
        for line in self._lines():
            number = self._next + len(records)
            if number in self._sent and not records:
                end += len(line)
                self._step_over(number + 1, end)
                continue
            record = self._parsed(number, line)
            values += len(record.values) if isinstance(record, Metrics) else BATCH_VALUES
            if records and (values > BATCH_VALUES or number in self._sent):
                break
            records.append(record)
            end += len(line)
        return Batch(self._next, tuple(records), end) if records else None

    def sent(self, batch: Batch) -> None:
        """Note that the batch has arrived, and go on to the next."""
        last = batch.first + len(batch.records) - 1
        self.leave_out(batch)
        with self._lock:
            self._sent.update(range(batch.first, last + 1))
            if self.kept:
                self._acknowledge(batch.first, last)

    def leave_out(self, batch: Batch) -> None:
        """Go on to the next batch; this one stays unsent."""
        self._step_over(batch.first + len(batch.records), batch.end)

    @property
    def left(self) -> int:
        """Number of records that have not arrived."""
        return self._count - len(self._sent)

    def close(self) -> None:
        """Let other processes open the journal."""
        with self._lock:
            self._file.close()

    def _acknowledge(self, first: int, last: int) -> None:
        with suppress(InputError):  # a full disk: without the receipt the records may be sent again
            append_json_line(self.folder / SENT, {"first": first, "last": last})

    def _take_lock(self, file: io.FileIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalInUseError(
                f"{self.folder} is in use: another process is sending its records, wait until it ends"
            ) from None

    def _load(self, file: io.FileIO) -> None:
        """Cut off a line torn by a crash, and find out what was recorded and sent."""
        content = file.read()
        self._size = content.rfind(b"\n") + 1
        file.truncate(self._size)
        lines = content[: self._size].splitlines()
        self._count = len(lines)
        shared: dict[frozenset[str], frozenset[str]] = {}  # most steps have the same names, which need memory once
        for number, line in enumerate(lines):
            record = self._parsed(number, line)
            if isinstance(record, Metrics | Picture):
                place = record.kind, record.step
                names = self.recorded.get(place, frozenset()).union(_names(record))
                self.recorded[place] = shared.setdefault(names, names)
            elif isinstance(record, Ending):
                self._endings.add(number)
        for receipt in read_json_lines(self.folder / SENT):
            self._sent.update(range(_number(receipt, "first"), _number(receipt, "last") + 1))
        self._sent &= set(range(self._count))

    def _parsed(self, number: int, line: bytes) -> Record:
        try:
            return parse_record(line)
        except ValidationError:
            raise InputError(
                f"{self.folder / RECORDS} line {number + 1} is {line[:60]!r}: must be a record for MLflow"
            ) from None

    def _lines(self) -> Iterator[bytes]:
        """Lines with their line breaks, from the next record on."""
        position, rest = self._position, b""
        while True:
            with self._lock:
                self._file.seek(position)
                data = self._file.read(min(_READ_BYTES, self._size - position)) or b""
            if not data:
                return
            position += len(data)
            *lines, rest = (rest + data).split(b"\n")
            yield from (line + b"\n" for line in lines)

    def _step_over(self, following: int, position: int) -> None:
        self._next, self._position = following, position

    def _go_on_in_memory(self, line: bytes) -> None:
        assert isinstance(self._file, io.FileIO)
        with self._file as file:
            file.truncate(self._size)
            file.seek(0)
            self._file = io.BytesIO(file.read() + line)


def read_destination(folder: Path) -> Destination | None:
    """Where the records of the journal in a folder go; None when there is no journal.

    Raises:
        InputError: its file cannot be read, or holds something else.
    """
    path = folder / RUN
    if not path.exists():
        return None
    try:
        return Destination.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError:
        raise InputError(f"{path} is damaged: must hold a run's id and the address of an MLflow store") from None


def _write(file: io.BytesIO | io.FileIO, data: bytes) -> None:
    if file.write(data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _names(record: Metrics | Picture) -> Iterable[str]:
    return record.values if isinstance(record, Metrics) else (record.name,)


def _number(receipt: dict[str, Any], name: str) -> int:
    value = receipt.get(name)
    if not isinstance(value, int):
        raise InputError(f"{SENT} holds {receipt!r}: must be the numbers 'first' and 'last'")
    return value
