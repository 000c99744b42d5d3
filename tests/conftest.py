"""Shared by all tests: a data set small enough for a run in seconds, and one Ray per session for
those that need it."""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.datasets import load_digits

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import ImageDataset, open_dataset

if TYPE_CHECKING:
    from measured import Measured
    from whole_runs import CommandLine

CLASSES = 3


@pytest.fixture(scope="session")
def three_digits_config(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """Handwritten 0, 1 and 2, grey 8x8: 40, 30 and 20 images, of which the first class has the
    most."""
    folder = tmp_path_factory.mktemp("digits")
    digits = load_digits()
    rows = np.concatenate([np.flatnonzero(digits.target == label)[: 40 - 10 * label] for label in range(CLASSES)])
    pixels = (digits.images[rows] * 15).astype(np.uint8)
    table = pa.table({"image": pixels.tolist(), "label": digits.target[rows]})
    pq.write_table(table, folder / "digits.parquet")
    return DataConfig(source=str(folder / "digits.parquet"), cache=str(folder / "cache"))


@pytest.fixture(scope="session")
def three_digits(three_digits_config: DataConfig) -> ImageDataset:
    return open_dataset(three_digits_config)


@pytest.fixture
def noise(three_digits: ImageDataset) -> CondensedSet:
    """A condensed set of the three digits that teaches nothing."""
    info = three_digits.info
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return CondensedSet(images, torch.arange(3), info.class_names, info.mean, info.std)


@pytest.fixture
def hmdc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    """The command line in an empty folder, with a pool that needs no Ray."""
    from whole_runs import CommandLine, without_ray  # imports Ray, which most tests do not need

    without_ray(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return CommandLine(monkeypatch, capsys)


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """A Ray of our own for the session: loopback, two CPUs, three logical GPUs, three lanes, one
    thread an actor."""
    import ray

    # Ray puts its sockets there, whose paths may not be longer than about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="hmdc-"))
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("RAY_ADDRESS", raising=False)
        environment.delenv("RAY_AUTH_TOKEN", raising=False)
        environment.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        environment.setenv("OMP_NUM_THREADS", "1")
        ray.init(
            address="local",
            num_cpus=2,
            num_gpus=3,
            resources={"lane": 3},
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder),
        )
        try:
            yield
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def measured(ray_local: None, three_digits_config: DataConfig) -> Measured:
    from measured import measure_a_step

    return measure_a_step(three_digits_config)
