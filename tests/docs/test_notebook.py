"""The notebook runs from top to bottom in a kernel, and its comparisons come out for the condensed
images."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebook.ipynb"
COMPARISON = re.compile(r"^(.+): condensed ([\d.]+)%, random real ([\d.]+)%$", re.MULTILINE)


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(output["text"] for output in cell.get("outputs", []) if output["output_type"] == "stream")


def test_the_notebook_is_committed_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


def test_condensed_images_train_better_than_random_real_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    # Ray puts its sockets there, whose paths may not be longer than about 100 characters.
    with tempfile.TemporaryDirectory(prefix="hmdc-", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", f"{folder}/token")
        try:
            NotebookClient(notebook, timeout=500).execute(cwd=str(tmp_path))
        finally:  # the kernel is gone by now, and a Ray whose cell failed or hung must be too
            every = psutil.process_iter(["cmdline"])
            left = [process for process in every if folder in " ".join(process.info["cmdline"] or [])]
            _, left = psutil.wait_procs(left, timeout=20)
            for process in left:
                process.kill()
    assert left == []
    _, _, *cells = notebook.cells  # at import, tqdm and Ray may say that they miss ipywidgets
    text = "".join(printed(cell) for cell in cells)
    found = COMPARISON.findall(text)
    assert [name for name, _, _ in found] == ["own network", "convnet", "mlp"]
    assert [name for name, condensed, real in found if not float(condensed) > float(real)] == []
    assert COMPARISON.sub("", text).strip() == ""  # no messages of Ray, torch or the program in between
