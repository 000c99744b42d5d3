"""Checkpoints: one safetensors file per image version, and a manifest with its checksum, written last.

A checkpoint exists when its manifest does. Both are written to temporary names and renamed, so that a process that dies
at any moment leaves the previous checkpoint intact.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy

from hmdc_ray.errors import InputError
from hmdc_ray.files import write_atomically
from hmdc_ray.messages import State

FORMAT = 1
KEPT = 2
"""How many checkpoints stay in the folder."""

SERVER = "server"


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint is of.

    Attributes:
        version: image steps done.
        file: name of the tensors' file.
        sha256: checksum of that file.
        identity: what a run that continues must share with it: configuration and data fingerprint.
    """

    version: int
    file: str
    sha256: str
    identity: Mapping[str, Any]


class CheckpointFolder:
    """The ``checkpoint`` folder of a run.

    Args:
        path: the folder; made when the first checkpoint is saved.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, version: int, states: Mapping[str, State], identity: Mapping[str, Any]) -> None:
        """Write the states of the server and of the members after ``version`` steps, then drop the oldest checkpoints.

        Raises:
            InputError: the file cannot be written, such as on a full disk; earlier checkpoints stay.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        arrays = {f"{owner}/{name}": array for owner, state in states.items() for name, array in state.arrays.items()}
        values = {owner: state.values for owner, state in states.items()}
        data = safetensors.numpy.save(arrays, metadata={"format": str(FORMAT), "values": json.dumps(values)})
        name = f"{version:09d}.safetensors"
        write_atomically(self.path / name, data)
        manifest = {
            "format": FORMAT,
            "version": version,
            "file": name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "identity": dict(identity),
        }
        write_atomically(self.path / f"{version:09d}.json", json.dumps(manifest, indent=1))
        for old in self._manifests()[:-KEPT]:
            old.unlink()
            old.with_suffix(".safetensors").unlink(missing_ok=True)

    def latest(self) -> Manifest | None:
        """The manifest of the newest checkpoint, or None.

        Raises:
            InputError: the manifest cannot be read.
        """
        manifests = self._manifests()
        return self.manifest(int(manifests[-1].stem)) if manifests else None

    def manifest(self, version: int) -> Manifest:
        """The manifest of one version.

        Raises:
            InputError: it is missing, damaged, or of another format.
        """
        path = self.path / f"{version:09d}.json"
        try:
            found = json.loads(path.read_text())
            if found["format"] != FORMAT:
                raise InputError(f"{path} has format {found['format']!r}: this version of the package reads {FORMAT}")
            return Manifest(int(found["version"]), str(found["file"]), str(found["sha256"]), dict(found["identity"]))
        except InputError:
            raise
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is no checkpoint manifest ({error!r}): delete it to go on from the one before") from error

    def load(self, version: int) -> dict[str, State]:
        """The states of one version, by owner.

        Raises:
            InputError: the file is missing, or its content is not what was written.
        """
        manifest = self.manifest(version)
        path = self.path / Path(manifest.file).name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"checkpoint {path} cannot be read: {error.strerror}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != manifest.sha256:
            raise InputError(
                f"checkpoint {path} is damaged: its checksum is {found[:12]}, its manifest says {manifest.sha256[:12]}; "
                f"delete {version:09d}.json to go on from the checkpoint before"
            )
        arrays = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        values: dict[str, dict[str, int]] = json.loads(header["__metadata__"]["values"])
        states: dict[str, State] = {owner: State({}, values[owner]) for owner in values}
        for full_name, array in arrays.items():
            owner, _, name = full_name.partition("/")
            states[owner].arrays[name] = array
        return states

    def _manifests(self) -> list[Path]:
        return sorted(path for path in self.path.glob("*.json") if path.stem.isdigit())
