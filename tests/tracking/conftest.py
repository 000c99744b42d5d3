"""Fixtures of the tests of tracking."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmdc_ray.tracking import recorder
from tracking.mlflow_server import Store, shared_store


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests name their own store, whatever the environment says."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return shared_store(tmp_path_factory.getbasetemp())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder, with a file; records are sent at once, and tried again at once."""
    monkeypatch.setattr(recorder, "SEND_SECONDS", 0.001)
    monkeypatch.setattr(recorder, "LONGEST_PAUSE", 0.001)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 1")
    return tmp_path / "run"
