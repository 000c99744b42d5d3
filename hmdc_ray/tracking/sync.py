"""Sending later what runs could not send to MLflow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hmdc_ray.errors import InputError
from hmdc_ray.tracking.delivery import Delivery
from hmdc_ray.tracking.journal import RECORDS, RUN, Journal, JournalInUseError, read_destination
from hmdc_ray.tracking.records import Destination
from hmdc_ray.tracking.store import ADDRESS_VARIABLE, Address, connect, http_status, named_errors, reason
from hmdc_ray.tracking.tracker import FOLDER

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class Synced:
    """What became of one run's records.

    Attributes:
        folder: the run's folder.
        is_running: a process has resumed the run and sends its records itself; nothing was done.
        sent: number of records sent.
        refused: why records were not taken, one entry a record; they stay in the folder.
    """

    folder: Path
    is_running: bool = False
    sent: int = 0
    refused: list[str] = field(default_factory=list)


def sync_tracking(folder: Path) -> Iterator[Synced]:
    """Send what MLflow lacks of a run, or of each run in a folder such as a search's; every value once.

    The records go to MLFLOW_TRACKING_URI if it is set, else to where the run sent them.

    Args:
        folder: folder of a run, or one with runs at any depth.

    Returns:
        One entry a run, as they are done.

    Raises:
        InputError: the folder holds no tracked run; a store cannot be used, or does not know the run.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: name the folder of a run, or one with runs")
    journals = _journals(folder.absolute())
    if not journals:
        raise InputError(f"{folder} holds no tracked run (no {FOLDER}/{RUN}): name the folder of a run, or one with runs")
    return _synced(journals)


def _journals(folder: Path) -> dict[Path, Destination]:
    """The journals in the folder, in order.

    A trial's checkpoints hold copies of its folder: of the journals of one run only the longest counts, which alone may
    be complete.
    """
    found: dict[str, Path] = {}
    destinations = {}
    for path in sorted(path.parent for path in folder.rglob(f"{FOLDER}/{RUN}")):
        destination = read_destination(path)
        assert destination is not None
        destinations[path] = destination
        best = found.setdefault(destination.run_id, path)
        if _length(path) > _length(best):
            found[destination.run_id] = path
    return {path: destinations[path] for path in sorted(found.values())}


def _length(journal: Path) -> int:
    records = journal / RECORDS
    return records.stat().st_size if records.exists() else 0


def _synced(journals: dict[Path, Destination]) -> Iterator[Synced]:
    clients: dict[Address, MlflowClient] = {}
    for path, destination in journals.items():
        try:
            journal = Journal.reopen(path)
        except JournalInUseError:
            yield Synced(path.parent, is_running=True)
            continue
        try:
            yield _sync(journal, destination, clients)
        finally:
            journal.close()


def _sync(journal: Journal, destination: Destination, clients: dict[Address, MlflowClient]) -> Synced:
    synced = Synced(journal.folder.parent)
    if journal.left == 0:
        return synced
    overridden = os.environ.get(ADDRESS_VARIABLE)
    address = Address.chosen(None if overridden else destination.uri, synced.folder, str(journal.folder / RUN))
    if address not in clients:
        clients[address] = connect(address)
    client = clients[address]
    with named_errors(address):
        _require_run(client, destination, address, synced.folder)
        sent = Delivery(client, destination.run_id, journal).send_unsent(lambda error: synced.refused.append(reason(error)))
    return Synced(synced.folder, sent=sent, refused=synced.refused)


def _require_run(client: MlflowClient, destination: Destination, address: Address, folder: Path) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(destination.run_id)
    except MlflowException as error:
        if http_status(error) != 404:
            raise
        raise InputError(
            f"{address.field} {address.shown!r} knows no run {destination.run_id!r}, that of {folder}:"
            f" name the store that it was tracked in by {ADDRESS_VARIABLE}"
        ) from None
