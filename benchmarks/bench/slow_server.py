"""A tracking server that takes its time: it accepts whatever MLflow's client sends, answers each
call late, and keeps nothing.

``python -m benchmarks.bench.slow_server SECONDS`` listens on loopback and prints its address.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

EXPERIMENT = {
    "experiment_id": "1",
    "name": "bench",
    "artifact_location": "mlflow-artifacts:/1",
    "lifecycle_stage": "active",
}
RUN = {
    "info": {
        "run_id": "0" * 32,
        "run_uuid": "0" * 32,
        "experiment_id": "1",
        "status": "RUNNING",
        "lifecycle_stage": "active",
        "artifact_uri": "mlflow-artifacts:/1/run/artifacts",
    },
    "data": {},
}


class _Handler(BaseHTTPRequestHandler):
    delay = 0.0

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(self.delay)
        body = json.dumps(_answer_to(self.path)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _answer_to(path: str) -> dict[str, Any]:
    if "/experiments/" in path:
        return {"experiment": EXPERIMENT}
    if "/runs/create" in path or "/runs/get" in path:
        return {"run": RUN}
    if "/runs/update" in path:
        return {"run_info": RUN["info"]}
    return {}


@contextmanager
def slow_server(delay: float) -> Iterator[str]:
    """Run the server in a process of its own, and stop it at the end.

    Args:
        delay: seconds before each answer.

    Yields:
        The server's address.
    """
    command = [sys.executable, "-m", "benchmarks.bench.slow_server", str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # a module of this package
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main() -> None:
    """Serve until stopped."""
    handler = type("Handler", (_Handler,), {"delay": float(sys.argv[1])})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
