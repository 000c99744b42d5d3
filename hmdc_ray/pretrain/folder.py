"""The folder of a pre-training, and its record, by which a training is resumed or refused."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmdc_ray.config.io import CONFIG_FILE
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.pretrain.earlier import REVISION, as_written_today, corrections
from hmdc_ray.pretrain.plan import Plan
from hmdc_ray.pretrain.report import ACCURACIES_FILE, LOSSES_FILE
from hmdc_ray.run.folder import RunFolder
from hmdc_ray.run.resume import require_same
from hmdc_ray.system.files import write_atomically

RECORD_FILE, STORAGE_FOLDER = "pretrain.json", "ray"


@dataclass(frozen=True)
class Record:
    """``pretrain.json``, written before the training begins.

    Attributes:
        run: name of the run in the storage. No two trainings share one, because Ray Train silently
            resumes a run whose name the storage knows.
        storage: absolute path or address of the storage, where Ray Train keeps its checkpoints.
        identity: values that the training depends on, by name; see
            :meth:`hmdc_ray.pretrain.plan.Plan.identity`.
        revision: revision of the recipes; see :data:`hmdc_ray.pretrain.earlier.REVISION`.
    """

    run: str
    storage: str
    identity: dict[str, Any]
    revision: int = 1

    @classmethod
    def fresh(cls, name: str, storage: str, identity: dict[str, Any]) -> Record:
        """The record of a training that begins."""
        return cls(f"{name}-{uuid.uuid4().hex[:8]}", storage, identity, REVISION)


def storage_location(storage: str | None, folder: Path) -> str:
    """The storage's address as it is, or its path made absolute; None: a folder within the
    training's own."""
    if storage is None:
        return str(folder / STORAGE_FOLDER)
    return storage if "://" in storage else str(Path(storage).expanduser().absolute())


def claim(path: Path, *, overwrite: bool, resume: bool) -> RunFolder:
    """Take a folder for a pre-training.

    Raises:
        InputError: the folder is refused by :meth:`hmdc_ray.run.folder.RunFolder.claim`, or is
            another command's.
    """
    if (path / CONFIG_FILE).exists() and not (path / RECORD_FILE).exists():
        raise InputError(f"{path} holds a run of 'hmdc condense', and no pre-training: choose another --output")
    return RunFolder.claim(path, overwrite=overwrite, resume=resume)


def clear(folder: RunFolder, keep: str) -> None:
    """Remove what an earlier pre-training left in the folder; a storage elsewhere is left alone.

    Args:
        folder: the training's folder.
        keep: name of the run that begins, whose folder in the storage exists already.

    Raises:
        InputError: a file cannot be removed.
    """
    path = folder.path
    runs = (run for run in (path / STORAGE_FOLDER).glob("*") if run.name != keep)
    try:
        for old in runs:
            shutil.rmtree(old)
        for found in (*path.glob("*.safetensors"), path / ACCURACIES_FILE, path / LOSSES_FILE, path / RECORD_FILE):
            found.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be cleared: {error.strerror or error}") from error
    folder.clear()


def write_record(folder: Path, record: Record) -> None:
    """Write ``pretrain.json``.

    Raises:
        InputError: the file cannot be written.
    """
    write_atomically(folder / RECORD_FILE, json.dumps(vars(record), indent=1) + "\n")


def read_record(folder: Path) -> Record:
    """The record of the training that a folder holds.

    Raises:
        InputError: the record is damaged.
    """
    path = folder / RECORD_FILE
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}): start anew with --overwrite or another --output") from error


def require_resumable(found: Record, folder: Path, storage: str | None, plan: Plan, info: DatasetInfo) -> None:
    """Refuse to resume another training than the one that was begun.

    Args:
        found: record of the training.
        folder: the training's folder.
        storage: path or address of the storage asked for; None: that of the record.
        plan: the training asked for.
        info: description of the data.

    Raises:
        InputError: another training was begun in the folder, or one whose recipe was corrected
            since.
    """
    if storage is not None and storage_location(storage, folder) != found.storage:
        raise InputError(f"--storage-path is {storage!r}, but the pre-training in {folder} was begun with {found.storage!r}")
    corrected = {} if found.revision == REVISION else corrections(plan, info)
    explained = {name for names in corrected.values() for name in names}
    begun = as_written_today(found.identity, plan, info)
    require_same(plan.identity(info), begun, f"the pre-training in {folder} was begun", ignored=explained)
    if corrected:
        raise InputError(
            f"the pre-training in {folder} was begun by another version of hmdc-ray and would not lead to the same weights: "
            f"{', and '.join(corrected)}; start anew with --overwrite or another --output"
        )
