"""Named pipes, sockets and devices in the place of files are refused: who opens one may wait for
ever."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hmdc_ray.condensed import load_condensed
from hmdc_ray.config.io import load_config
from hmdc_ray.errors import InputError
from hmdc_ray.models import ImageShape, build
from hmdc_ray.seeding import Key
from hmdc_ray.server.storage import LocalStorage
from hmdc_ray.system.files import read_json_lines
from hmdc_ray.system.locks import locked


def weights(path: Path) -> None:
    build("mlp", {}, ImageShape(1, 8, 8), 2, Key(0, "network"), f"checkpoint:{path}")


def lock(path: Path) -> None:
    with locked(path, "waits"):
        pytest.fail("it is no file")


READERS: dict[str, Callable[[Path], Any]] = {
    "configuration": load_config,
    "condensed set": load_condensed,
    "lines": read_json_lines,
    "checkpoint": lambda path: LocalStorage(path.parent).read(path.name),
    "weights": weights,
    "lock": lock,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["named pipe", "socket", "device"])
def test_only_files_are_opened(reader: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    path = Path("/dev/zero") if kind == "device" else Path("it")
    if kind == "named pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    with pytest.raises(InputError, match=f"{path} is a {kind}: give a file"):
        READERS[reader](path)
