"""Shared by all tests: a data set small enough for a run in seconds, and one Ray per session for those that need it."""

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
from sklearn.datasets import load_digits

from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import ImageDataset, open_dataset

if TYPE_CHECKING:
    from measured import Measured

CLASSES = 3


@pytest.fixture(scope="session")
def three_digits_config(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """Handwritten 0, 1 and 2, grey 8x8: 40, 30 and 20 images, of which the first class has the most."""
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


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """A Ray of our own for the session: loopback, two CPUs, three logical GPUs, one thread an actor."""
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
