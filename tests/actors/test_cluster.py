"""A cluster of somebody else's is asked before Ray tries: what is wrong is one line, in seconds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import ray

from hmdc_ray.actors import cluster
from hmdc_ray.actors.cluster import ClusterAddress
from hmdc_ray.actors.token import token_mode_kept
from hmdc_ray.errors import InputError

ROOT = Path(__file__).parents[2]
JOIN = """
import sys
from hmdc_ray.actors.session import ray_session
with ray_session(sys.argv[1]):
    import ray
    double = ray.remote(lambda number: 2 * number)
    print(ray.get(double.options(num_cpus=0).remote(21), timeout=60))
"""
HEAD = """
import os, sys
import ray
os.environ["RAY_AUTH_MODE"] = "disabled"
context = ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1])
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Ray is told to connect to."""
    calls: list[str] = []
    monkeypatch.setattr(ray, "init", lambda address, **_: calls.append(address))
    return calls


def join(address: str | None) -> None:
    with token_mode_kept():
        ClusterAddress.chosen(address).join(lambda: None)


def child(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "address",
    ["head", "head:x", "head:0", "head:70000", ":6379", "::1:6379", "http://head:6379", "me@head:6379", "head:1/x", "ray://"],
)
def test_what_is_no_address_is_refused_with_the_forms(address: str, joined: list[str]) -> None:
    with pytest.raises(InputError, match=r"must be HOST:PORT of a running head, ray://HOST:PORT .*, auto, or local") as caught:
        join(address)
    assert str(caught.value).startswith(f"--address is {address!r}")
    assert joined == []


def test_the_environment_is_named_when_it_gave_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{port}")
    for address in (None, "auto"):
        with pytest.raises(
            InputError, match=rf"RAY_ADDRESS is 'ray://127.0.0.1:{port}': nobody answers there \(Connection ref"
        ):
            join(address)


def test_a_host_without_a_name_is_said_so() -> None:
    with pytest.raises(
        InputError, match=r"--address is 'head.invalid:6379': nobody answers there \(.*(name|Name).*\): start a h"
    ):
        join("head.invalid:6379")


def test_a_host_that_drops_packets_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.3)
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as full:
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]  # no more connections are taken from here on
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        with pytest.raises(InputError, match=r"nobody answers there \((no answer within 0.3 s|timed out)\)"):
            join(f"ray://127.0.0.1:{port}")
        for one in waiting:
            one.close()


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of somebody who takes connections, and never answers."""
    with closing(socket.create_server(("", 0))) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(("form", "what"), [("127.0.0.1:{}", "head"), ("ray://127.0.0.1:{}", "client server")])
def test_somebody_else_at_the_port_is_no_ray(form: str, what: str, mute: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    with pytest.raises(InputError, match=rf"what answers there is no Ray {what} \("):
        join(form.format(mute))


def test_a_signal_ends_the_wait(mute: int, tmp_path: Path) -> None:
    process = child("-m", "jobs.condense", "digits", "--output", str(tmp_path / "run"), "--address", f"127.0.0.1:{mute}")
    assert process.stdout is not None
    while "connecting to Ray" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, shown = process.communicate(timeout=8)  # of the ten that it would wait; torch is being imported
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in shown and "Traceback" not in shown


class TestClusterWithToken:
    """The session's own Ray, whose token the environment names, as other processes see it: this one
    keeps the token it has."""

    @pytest.fixture
    def address(self, ray_local: None) -> str:
        return str(ray.get_runtime_context().gcs_address)

    def refusal(self, address: str) -> str:
        process = child("-c", JOIN, address)
        _, shown = process.communicate(timeout=60)
        assert process.returncode == 1
        return shown.strip().splitlines()[-1]

    def test_the_token_is_sent(self, address: str) -> None:
        process = child("-c", JOIN, address)
        answer, shown = process.communicate(timeout=60)
        assert answer.split() == ["42"], shown

    def test_a_missing_token_is_not_an_absent_cluster(
        self, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
        expected = f"a Ray cluster answers, but wants its authentication token, and {tmp_path}/none holds none: put"
        assert expected in self.refusal(address)

    def test_a_wrong_token_is_refused_with_its_place(
        self, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "other").write_text("ab" * 32)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "other"))
        expected = f"a Ray cluster answers, but refuses the authentication token in {tmp_path}/other: put"
        assert expected in self.refusal(address)

    def test_tokens_switched_off_here_are_told(self, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        assert "RAY_AUTH_MODE is 'disabled' here: unset it" in self.refusal(address)


def test_a_cluster_without_tokens_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory(prefix="hmdc-", ignore_cleanup_errors=True) as folder:
        process = child("-c", HEAD, folder)
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            joining = child("-c", JOIN, address)
            monkeypatch.setenv("RAY_AUTH_MODE", "token")
            refused = child("-c", JOIN, address)
            answer, shown = joining.communicate(timeout=60)
            assert answer.split() == ["42"], shown
            _, shown = refused.communicate(timeout=60)
            assert "the cluster there uses no tokens, but RAY_AUTH_MODE is 'token': unset it" in shown
        finally:
            process.communicate(timeout=60)  # which closes its input
    assert process.returncode == 0
