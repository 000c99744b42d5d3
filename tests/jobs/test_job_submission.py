"""``ray job submit`` to a head of our own: the entry points run where Ray starts them, not where a
user sits."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest

from hmdc_ray.condensed import load_condensed

RAY = str(Path(sys.executable).with_name("ray"))
START_SECONDS, JOB_SECONDS = 120, 400

SMALL = (
    "schedule.iterations=1",
    "schedule.checkpoint_every=1",
    "evaluation.students=[mlp]",
    "evaluation.seeds=1",
    "evaluation.epochs=2",
    "evaluation.baselines=none",
    "tracking.enabled=false",
)


@dataclass(frozen=True)
class Head:
    """A head that takes jobs at ``address``, for processes with this environment."""

    address: str
    environment: dict[str, str]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until somebody listens, or the process ends, or it takes too long."""
    deadline = monotonic() + START_SECONDS
    while monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
            pytest.fail(f"ray start ended:\n{log.read_text()}")
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
    pytest.fail(f"ray start took longer than {START_SECONDS} s:\n{log.read_text()}")


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A head on loopback with a folder, a token and ports of its own; it ends with the process that
    we started."""
    folder = Path(tempfile.mkdtemp(prefix="hmdc-"))  # Ray's sockets lie there, whose paths must be short
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**inherited, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "OMP_NUM_THREADS": "1"}
    gcs, dashboard, client, agent = free_ports(4)
    log = folder / "start.log"
    options = {
        "node-ip-address": "127.0.0.1",
        "port": gcs,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "ray-client-server-port": client,
        "dashboard-agent-listen-port": agent,
        "min-worker-port": 0,  # any that is free: others on this machine may run Ray too
        "max-worker-port": 0,
        "num-cpus": 2,
        "temp-dir": folder,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    with log.open("w") as output:
        process = subprocess.Popen(
            [RAY, "start", "--head", "--block", "--disable-usage-stats", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        wait_for_port(dashboard, process, log)
        yield Head(f"http://127.0.0.1:{dashboard}", environment)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def submit(head: Head, *words: str) -> subprocess.CompletedProcess[str]:
    """Submit a job and follow it to its end."""
    command = [RAY, "job", "submit", "--address", head.address, "--", sys.executable, "-m", *words]
    return subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=JOB_SECONDS)


def test_a_submitted_job_condenses_the_digits(head: Head, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assignments = [word for assignment in (*SMALL, f"data.cache={tmp_path / 'cache'}") for word in ("--set", assignment)]
    done = submit(head, "jobs.condense", "digits", "--output", str(output), *assignments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout
    assert load_condensed(output).class_counts().tolist() == [1] * 10
    assert {"config.yaml", "evaluation.json", "images.png", "metrics.jsonl", "checkpoint"} <= {
        path.name for path in output.iterdir()
    }
