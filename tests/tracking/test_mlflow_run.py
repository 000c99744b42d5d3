"""What MLflow holds of a run is read back through its client, from the database beside the runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from hmdc_ray.tracking.mlflow_run import MlflowRun, run_tags
from hmdc_ray.tracking.store import prepare
from tracking.mlflow_server import Store, history, recorded, steps


def test_a_child_names_its_parent(store: Store) -> None:
    recorder = recorded(store.folder / "child", parent=store.run_id)
    recorder.finish("FINISHED")
    tags = store.client.get_run(recorder.run_id).data.tags
    assert (tags["mlflow.parentRunId"], tags["preset"]) == (store.run_id, "digits")
    assert tags["hmdc_ray.version"] and "mlflow.parentRunId" not in store.client.get_run(store.run_id).data.tags


def test_a_forgotten_run_is_started_anew_with_all_that_its_folder_holds(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    steps(store.folder / "forgotten", 1)
    first = recorded(store.folder / "forgotten")
    first.parameters({"seed": "3"})
    first.finish("KILLED")
    store.client.delete_run(first.run_id)
    again = recorded(store.folder / "forgotten")
    again.finish("FINISHED")
    assert again.run_id != first.run_id
    assert "a new one is started" in caplog.text
    assert history(store.client, again.run_id, "loss") == [(1, 0.5)]
    run = store.client.get_run(again.run_id)
    assert (run.info.status, run.data.params) == ("FINISHED", {"seed": "3"})


class Answers(BaseHTTPRequestHandler):
    """Answers with the server's ``statuses`` in turn, then with success."""

    def do_POST(self) -> None:
        statuses = cast(Any, self.server).statuses
        self.rfile.read(int(self.headers["Content-Length"]))
        status = statuses.pop(0) if statuses else 200
        self.send_response(status)
        self.end_headers()
        code = {400: "INVALID_PARAMETER_VALUE", 404: "RESOURCE_DOES_NOT_EXIST"}.get(status, "INTERNAL_ERROR")
        self.wfile.write(b"{}" if status == 200 else json.dumps({"error_code": code, "message": "no"}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal clean."""


@pytest.fixture
def stub_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503])
def test_only_a_wrong_record_is_given_up(stub_server: ThreadingHTTPServer, status: int) -> None:
    """MLflow's own client says so in different ways for each of these answers."""
    prepare()
    cast(Any, stub_server).statuses = [status]
    with pytest.raises(MlflowException) as raised:
        MlflowClient(f"http://127.0.0.1:{stub_server.server_port}").set_tag("1", "a", "b")
    assert MlflowRun.refuses(cast(Any, None), raised.value) == (status == 400)


def test_the_commit_is_recorded_where_git_knows_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = tmp_path / "git"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "mlflow.source.git.commit" not in run_tags(None)
    git.write_text("#!/bin/sh\necho 0123abc\n")
    git.chmod(0o755)
    assert run_tags(None)["mlflow.source.git.commit"] == "0123abc"
    git.write_text("#!/bin/sh\necho 'not a repository' >&2; exit 128\n")
    assert "mlflow.source.git.commit" not in run_tags(None)
