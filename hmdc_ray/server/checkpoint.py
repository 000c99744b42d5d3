"""Checkpoints: one safetensors file per image version, and a manifest with its checksum, written
last.

A checkpoint exists when its manifest does, and is whole when both files are as they were written,
to the last bit. Locally both are written to temporary names and renamed, so that a process that
dies at any moment leaves the previous checkpoint intact. On every storage a torn or altered
checkpoint is recognised, and the one before it is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from hmdc_ray.config import ScheduleConfig
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.messages import State
from hmdc_ray.server.storage import LocalStorage, Storage, open_storage

FORMAT = 3
KEPT = 3
"""Default number of checkpoints that are kept."""

SERVER = "server"
FOLDER = "checkpoint"
"""Default folder of a run's checkpoints, within the run's folder."""

_MANIFEST, _TENSORS = ".json", ".safetensors"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """Description of a checkpoint.

    Attributes:
        version: number of image steps done.
        file: name of the tensors' file.
        sha256: checksum of that file.
        identity: configuration and data fingerprint that a resumed run must share.
    """

    version: int
    file: str
    sha256: str
    identity: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """The manifest's file: JSON that ends with a checksum of what comes before."""
        fields = {
            "format": FORMAT,
            "version": self.version,
            "file": self.file,
            "sha256": self.sha256,
            "identity": dict(self.identity),
        }
        return json.dumps(fields | {"checksum": hashlib.sha256(json.dumps(fields).encode()).hexdigest()}, indent=1).encode()


class CheckpointFolder:
    """The checkpoints of a run.

    Args:
        storage: storage of the files; a path is a local folder, made when the first checkpoint is
            saved.
        kept: number of the newest checkpoints that are kept, at least 1.
    """

    def __init__(self, storage: Storage | Path, kept: int = KEPT) -> None:
        self.storage = LocalStorage(storage) if isinstance(storage, Path) else storage
        self.kept = kept

    @classmethod
    def of_run(cls, folder: Path, schedule: ScheduleConfig) -> CheckpointFolder:
        """The checkpoints of the run in ``folder``: inside it, or at ``schedule.checkpoint_uri``.

        Raises:
            InputError: ``schedule.checkpoint_uri`` cannot be opened.
        """
        return cls(open_storage(schedule.checkpoint_uri or FOLDER, folder), schedule.checkpoints_kept)

    def save(self, version: int, states: Mapping[str, State], identity: Mapping[str, Any]) -> None:
        """Write the states of the server and of the members after ``version`` steps, then drop the
        oldest checkpoints.

        Raises:
            InputError: a file cannot be written, for example because the disk is full; earlier
                checkpoints stay.
        """
        arrays = {f"{owner}/{name}": array for owner, state in states.items() for name, array in state.arrays.items()}
        values = {owner: state.values for owner, state in states.items()}
        stem = _stem(version)
        known = stem + _MANIFEST in self.storage.names()
        # A single entry: the library writes several in no fixed order, and the same states must
        # give the same bytes.
        data = _serialised(arrays, {"values": json.dumps(values)})
        manifest = Manifest(version, stem + _TENSORS, hashlib.sha256(data).hexdigest(), identity)
        self.storage.write(stem + _TENSORS, data)
        try:
            self.storage.write(stem + _MANIFEST, manifest.to_bytes())
        except InputError:
            if not known:  # tensors without a manifest would only fill a disk that may be full
                with suppress(InputError):
                    self.storage.remove(stem + _TENSORS)
            raise
        self._drop_before(version)

    def latest(self) -> Manifest | None:
        """The manifest of the newest whole checkpoint; None when none was ever saved.

        A torn or altered one is skipped, with a warning that names the file, and left as it is.

        Raises:
            InputError: the storage cannot be read, or no checkpoint in it is whole.
        """
        versions = self.versions()
        refusal = ""
        for version in reversed(versions):
            try:
                manifest = self.manifest(version)
                self._tensors(manifest)
            except InputError as error:
                refusal = refusal or str(error)
                _log.warning("%s; the checkpoint before it is used", error)
            else:
                return manifest
        if versions:
            raise InputError(
                f"no checkpoint in {self.storage.place()} is whole ({refusal}): put back a copy of its files, or start anew "
                "with --overwrite or another --output"
            )
        return None

    def versions(self) -> list[int]:
        """The versions that have a manifest, whole or not, ascending."""
        return [int(name.removesuffix(_MANIFEST)) for name in self.storage.names() if _is_numbered(name, _MANIFEST)]

    def saved_at(self, version: int) -> float:
        """Time at which a version was saved, in seconds since 1970."""
        return self.storage.modified(_stem(version) + _MANIFEST)

    def manifest(self, version: int) -> Manifest:
        """The manifest of one version.

        Raises:
            InputError: the manifest is missing, damaged, or of another format.
        """
        name = _stem(version) + _MANIFEST
        data, place = self.storage.read(name), self.storage.place(name)
        try:
            found = json.loads(data)
            form = found["format"]
            manifest = Manifest(int(found["version"]), str(found["file"]), str(found["sha256"]), dict(found["identity"]))
            whole = form != FORMAT or manifest.to_bytes() == data
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{place} is no checkpoint manifest ({error!r})") from error
        if form != FORMAT:
            raise InputError(f"{place} has format {form!r}: this version of the package reads {FORMAT}")
        if not whole or manifest.version != version:
            raise InputError(f"{place} is damaged: it is not as it was written")
        return manifest

    def load(self, version: int) -> dict[str, State]:
        """The states of one version, by owner.

        Raises:
            InputError: a file is missing, or its content is not what was written.
        """
        manifest = self.manifest(version)
        data = self._tensors(manifest)
        try:
            arrays = safetensors.numpy.load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            values: dict[str, dict[str, int]] = json.loads(header["__metadata__"]["values"])
            states: dict[str, State] = {owner: State({}, dict(values[owner])) for owner in values}
            for full_name, array in arrays.items():
                owner, _, name = full_name.partition("/")
                states[owner].arrays[name] = array
        except Exception as error:  # broken bytes can fail anywhere in the reader
            raise InputError(f"{self.storage.place(manifest.file)} holds no checkpoint ({error!r})") from error
        return states

    def clear(self) -> None:
        """Remove all checkpoints.

        Raises:
            InputError: a file cannot be removed.
        """
        for name in self._numbered():
            self.storage.remove(name)

    def _tensors(self, manifest: Manifest) -> bytes:
        """The tensors' file, whole."""
        name = _stem(manifest.version) + _TENSORS  # never the name in the manifest, which may lead elsewhere
        data = self.storage.read(name)
        found = hashlib.sha256(data).hexdigest()
        if found != manifest.sha256:
            place = self.storage.place(name)
            raise InputError(
                f"checkpoint {place} is damaged: its checksum is {found[:12]}, its manifest says {manifest.sha256[:12]}"
            )
        return data

    def _drop_before(self, version: int) -> None:
        """Remove checkpoints older than those to keep. Any newer than ``version`` are damaged, and
        stay as they are."""
        try:
            oldest = [known for known in self.versions() if known <= version][-self.kept :][0]
            for name in self._numbered():  # manifests before their tensors
                if int(name.partition(".")[0]) < oldest:
                    self.storage.remove(name)
        except InputError as error:
            _log.warning("an old checkpoint could not be removed: %s", error)

    def _numbered(self) -> list[str]:
        names = self.storage.names()
        return [name for ending in (_MANIFEST, _TENSORS) for name in names if _is_numbered(name, ending)]


class TolerantSaves:
    """Lets a run continue when a checkpoint cannot be saved, until that has happened too often in a
    row.

    Args:
        most: number of failed saves in a row at which the run ends; 1 tolerates none.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.failures = 0

    def attempt(self, save: Callable[[], object]) -> InputError | None:
        """Call ``save``; returns the error that was tolerated, with a warning, or None when the
        checkpoint is saved.

        Raises:
            InputError: the save failed, and so did the ``most`` - 1 before it.
        """
        try:
            save()
        except InputError as error:
            self.failures += 1
            if self.failures >= self.most:
                raise InputError(
                    f"{error} ({self.failures} failed saves in a row, schedule.checkpoint_failures is {self.most}): make "
                    "room there, or copy the checkpoints elsewhere and name the copy in schedule.checkpoint_uri"
                ) from error
            _log.warning("%s; the run continues without this checkpoint (%d of %d)", error, self.failures, self.most)
            return error
        self.failures = 0
        return None


def _serialised(arrays: dict[str, NDArray[np.generic]], metadata: dict[str, str]) -> bytes | memoryview:
    """Bytes of a file of tensors: mapped from a temporary file, or in memory if that does not fit
    on the disk."""
    try:
        with NamedTemporaryFile() as file:  # its disk space lives as long as the mapping
            safetensors.numpy.save_file(arrays, file.name, metadata=metadata)
            return np.memmap(file.name, np.uint8, "r").data
    except (OSError, safetensors.SafetensorError):
        data: bytes = safetensors.numpy.save(arrays, metadata=metadata)
        return data


def _stem(version: int) -> str:
    return f"{version:09d}"


def _is_numbered(name: str, ending: str) -> bool:
    stem = name.removesuffix(ending)
    return name.endswith(ending) and stem.isascii() and stem.isdigit() and len(stem) < 19
