"""Tags that every run carries: who ran what version of the package, and as part of which other run."""

from __future__ import annotations

import getpass
import importlib.metadata
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

PACKAGE = "hmdc-ray"
PARENT = "mlflow.parentRunId"
COMMIT = "mlflow.source.git.commit"
VERSION = "hmdc_ray.version"


def run_tags(parent: str | None) -> dict[str, str]:
    """Version, user and, where git knows one, the commit of the package's code; the parent run's id if there is one.

    MLflow's pages show a commit only beside a source.
    """
    tags = {VERSION: importlib.metadata.version(PACKAGE), "mlflow.source.name": PACKAGE, "mlflow.source.type": "LOCAL"}
    if parent:
        tags[PARENT] = parent
    with suppress(KeyError, OSError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    git = shutil.which("git")
    if git is not None:
        here = Path(__file__).parent  # of the code: Ray starts trials in folders of their own
        answer = subprocess.run([git, "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True)  # noqa: S603
        if answer.returncode == 0:
            tags[COMMIT] = answer.stdout.strip()
    return tags
