from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from whole_runs import condense_here, tiniest, tree, write_config


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def finished(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a configuration, tiny.yaml, and its run, run/."""
    folder = tmp_path_factory.mktemp("finished")
    config = tiniest(home, evaluation={"students": ["mlp", "lenet"]})
    write_config(folder / "tiny.yaml", config)
    condense_here(config, folder / "run")
    before = tree(folder)
    yield folder
    assert tree(folder) == before, "a test changed the run that others use"
