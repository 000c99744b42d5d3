"""A search's folder: claimed for one process, with the record of its base configuration and
settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import CONFIG_FILE, dump_config, flatten, load_config
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.resources import with_threads
from hmdc_ray.run.folder import RunFolder
from hmdc_ray.run.resume import require_same
from hmdc_ray.search.settings import SearchSettings
from hmdc_ray.system.files import write_atomically

SETTINGS_FILE = "search.json"


@dataclass(frozen=True)
class SearchFolder:
    """A search's folder, claimed by this process.

    Attributes:
        path: the folder, which exists.
        config: base configuration of the search.
        record: settings of the search, as plain values.
    """

    path: Path
    config: RunConfig
    record: Mapping[str, Any]

    def remember(self) -> None:
        """Record base configuration and settings, so that the search can be resumed.

        A failure before this point leaves the folder free for another search.

        Raises:
            InputError: the folder cannot be written.
        """
        write_atomically(self.path / CONFIG_FILE, dump_config(self.config))
        write_atomically(self.path / SETTINGS_FILE, json.dumps(dict(self.record), indent=1) + "\n")


def begun(config: RunConfig, path: Path) -> RunConfig:
    """The configuration with the number of threads of the search that the folder holds, where it
    says ``auto``: trials to come must sum as those that are done."""
    if not (path / SETTINGS_FILE).exists():
        return config  # refused later
    return with_threads(config, load_config(path).threads)


@contextmanager
def claimed(
    path: Path, config: RunConfig, settings: SearchSettings, storage_path: str | None, resume: bool
) -> Iterator[SearchFolder]:
    """Claim a folder for a search, or to resume the one that it holds.

    Raises:
        InputError: the folder is in use, holds something else or, on resuming, another search; or
            it cannot be made.
    """
    holds_search = (path / SETTINGS_FILE).exists()
    if holds_search and not resume:
        raise InputError(f"{path} already holds a search: use --resume to continue it, or another --output")
    if resume and not holds_search:
        raise InputError(
            f"{path} holds no search (no {SETTINGS_FILE}), nothing to resume: leave out --resume, or name its folder"
        )
    folder = RunFolder.claim(path, resume=resume)
    try:
        found = SearchFolder(path, config, {**settings.to_json(), "storage_path": storage_path})
        if resume:
            _require_same(found)
        yield found
    finally:
        folder.release()


def _require_same(folder: SearchFolder) -> None:
    """Refuse to resume a search with another base or other settings."""
    stored = json.loads((folder.path / SETTINGS_FILE).read_text())
    before, now = (
        dict(sorted((flatten(config) | {f"--{name.replace('_', '-')}": value for name, value in record.items()}).items()))
        for config, record in ((load_config(folder.path), stored), (folder.config, folder.record))
    )
    otherwise = "start another search with another --output"
    require_same(now, before, f"the search in {folder.path} was started", otherwise=otherwise)
