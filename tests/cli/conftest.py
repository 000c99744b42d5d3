from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from whole_runs import CommandLine, tiniest, tree, without_ray, write_config


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def hmdc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    """The command line in an empty folder, with a pool that needs no Ray."""
    without_ray(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return CommandLine(monkeypatch, capsys)


@pytest.fixture(scope="session")
def finished(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a configuration, tiny.yaml, and its run, run/."""
    from hmdc_ray import condense

    folder = tmp_path_factory.mktemp("finished")
    config = tiniest(home, evaluation={"students": ["mlp", "lenet"]})
    write_config(folder / "tiny.yaml", config)
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_ray(monkeypatch)
        condense(config, folder / "run")
    before = tree(folder)
    yield folder
    assert tree(folder) == before, "a test changed the run that others use"
