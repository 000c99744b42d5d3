"""Fixtures of the fuzz tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder in memory, if there is one: thousands of small files are written."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="hmdc-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)
