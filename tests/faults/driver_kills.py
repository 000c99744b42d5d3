"""A run whose driver is killed at random points and resumed each time, beside the same run left in
peace.

``python -m faults.driver_kills`` is the long form; a test runs a short one. A kill comes at a
random moment of the start, or a moment after a random number of new steps, so that it may fall into
a step, a checkpoint, or the evaluation.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hmdc_ray.condensed import load_condensed
from hmdc_ray.config import RunConfig
from hmdc_ray.run.status import run_status
from hmdc_ray.system.files import read_json_lines

LONGEST_START = 8.0
"""Seconds within which a kill during the start comes."""

LATEST = 0.2
"""Seconds after a step in which a kill comes."""

DEADLINE = 300.0
"""Seconds in which a command must make a step, or end."""


def killed_and_resumed(config: RunConfig, file: Path, folder: Path, kills: int, draws: random.Random, address: str) -> int:
    """Kill the driver so many times, then let the run end; after each kill its folder can be read.

    Returns:
        The number of kills that found the driver alive.
    """
    environment = {**os.environ, "RAY_ADDRESS": address}
    command = [sys.executable, "-m", "hmdc_ray.cli.main", "condense", str(file), "--output", str(folder)]
    alive = 0
    for _ in range(kills):
        again = ["--resume"] if (folder / "config.yaml").exists() else []
        with subprocess.Popen(
            [*command, *again], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as driver:
            _wait_for_moment(driver, folder, draws)
            alive += driver.poll() is None
            driver.send_signal(signal.SIGKILL)
            _, errors = driver.communicate(timeout=DEADLINE)
        assert driver.returncode in (0, -signal.SIGKILL), errors
        if (folder / "config.yaml").exists():
            run_status(folder)
            steps = [record["step"] for record in read_json_lines(folder / "metrics.jsonl")]
            assert steps == list(range(1, len(steps) + 1)), steps
    again = ["--resume"] if (folder / "config.yaml").exists() else []
    done = subprocess.run([*command, *again], env=environment, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    steps = [record["step"] for record in read_json_lines(folder / "metrics.jsonl")]
    assert steps == list(range(1, config.schedule.iterations * config.schedule.steps + 1))
    return alive


def _wait_for_moment(driver: subprocess.Popen[str], folder: Path, draws: random.Random) -> None:
    def ended_within(seconds: float) -> bool:
        try:
            driver.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    if draws.random() < 1 / 3:
        ended_within(draws.uniform(0, LONGEST_START))
        return
    wanted, deadline = _steps(folder) + draws.randint(1, 4), time.monotonic() + DEADLINE
    while _steps(folder) < wanted and not ended_within(0.005):
        assert time.monotonic() < deadline, "no step in time"
    ended_within(draws.uniform(0, LATEST))


def _steps(folder: Path) -> int:
    """Lines of the metrics, which is one for each step."""
    file = folder / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def main() -> None:
    """Kill the driver, resume, and compare the pixels."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import ray
    from whole_runs import tiniest, write_config

    from faults.chaos import undisturbed
    from hmdc_ray.actors.token import protect_token

    folder = Path(tempfile.mkdtemp(prefix="hmdc-"))
    config = tiniest(folder, schedule={"iterations": 12, "steps": 5, "checkpoint_every": 3})
    protect_token()
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(folder / "ray"),
    )
    try:
        file, draws = write_config(folder / "run.yaml", config), random.Random(arguments.seed)  # chaos, not secrets
        start = time.monotonic()
        address = ray.get_runtime_context().gcs_address
        alive = killed_and_resumed(config, file, folder / "run", arguments.kills, draws, address)
        seconds = time.monotonic() - start
        expected = undisturbed(config, folder / "peace")
        found = load_condensed(folder / "run").images.numpy()
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    same = np.array_equal(found, expected.reshape(found.shape))
    print(f"driver kills: {arguments.kills}, of which {alive} found it alive; {seconds:.0f} s")  # noqa: T201
    print(f"pixels equal to the undisturbed run's: {same}")  # noqa: T201
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
