"""A storage that cannot be written is told before a run starts: a missing bucket, an endpoint that
is not served or mute."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from whole_runs import tiniest, tree, without_ray

from hmdc_ray import condense
from hmdc_ray.errors import InputError
from hmdc_ray.server import storage
from hmdc_ray.server.storage import require_writable


class NoBuckets(BaseHTTPRequestHandler):
    """An object store without a bucket."""

    def answer(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def empty_store() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), NoBuckets)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def bucket(port: int) -> str:
    return f"s3://bucket/runs?endpoint_override=127.0.0.1:{port}&scheme=http&region=x"


def check(location: str, folder: Path) -> None:
    require_writable(location, folder, "schedule.checkpoint_uri", lambda: None)


def test_a_folder_is_as_it_was(tmp_path: Path) -> None:
    for location in (str(tmp_path / "one"), (tmp_path / "what? 100%").as_uri(), "within"):
        check(location, tmp_path / "run")
    assert tree(tmp_path) == {}
    assert (tmp_path / "what? 100%").is_dir() and (tmp_path / "run" / "within").is_dir()


def test_what_is_no_folder_is_told_with_the_field(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"checkpoint_uri is '.*/file/x', which cannot be written \(Not a directory\): give a"):
        check(f"{tmp_path}/file/x", tmp_path)


def test_a_missing_bucket_is_found(empty_store: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"checkpoint_uri is 's3://.*', which cannot be written \(.*[Bb]ucket.*\): give a"):
        check(bucket(empty_store), tmp_path)


def test_a_run_finds_it_before_anything_starts(empty_store: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_ray(monkeypatch)
    with pytest.raises(InputError, match=r"schedule.checkpoint_uri is 's3://"):
        condense(tiniest(tmp_path, schedule={"checkpoint_uri": bucket(empty_store)}), tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == [tmp_path / "run" / ".lock"]


def test_an_endpoint_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "ANSWER_SECONDS", 0.5)
    message = r"where nobody answers \(no answer within 0.5 s\)"
    with closing(socket.create_server(("127.0.0.1", 0))) as mute, pytest.raises(InputError, match=message):
        check(bucket(mute.getsockname()[1]), tmp_path)


def test_a_stop_ends_the_wait(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with closing(socket.create_server(("127.0.0.1", 0))) as mute, pytest.raises(KeyboardInterrupt):
        require_writable(bucket(mute.getsockname()[1]), tmp_path, "--storage-path", stop)
