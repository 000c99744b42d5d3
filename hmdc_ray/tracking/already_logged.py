"""What MLflow already has of a resumed run, so that a step done again is not logged twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from hmdc_ray.tracking.pictures import PICTURES, series

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

AlreadyLogged = dict[tuple[str, int], frozenset[str]]
"""Names of the series that have a value, by kind (``metrics``, ``picture``) and step."""


def last_step(logged: AlreadyLogged, name: str) -> int:
    """The last step with a value of the metric, -1 if there is none."""
    return max((step for (kind, step), names in logged.items() if kind == "metrics" and name in names), default=-1)


def already_logged(client: MlflowClient, run: Run, recorded: AlreadyLogged) -> AlreadyLogged:
    """What the journal has recorded, and what only the store knows of.

    The store is ahead of a journal that was lost, or brought back from a checkpoint that is older than its last records.

    Args:
        client: client of the store.
        run: the run as the store has it now.
        recorded: series that the journal has recorded; empty when there is no journal.
    """
    latest: Mapping[str, int] = {metric.key: metric.step for metric in run.data._metric_objs}  # no public name tells steps
    ahead = [name for name, step in latest.items() if step > last_step(recorded, name)]
    logged = dict(recorded)
    for name in ahead:
        for metric in client.get_metric_history(run.info.run_id, name):
            _add(logged, "metrics", metric.step, name)
    if ahead:
        for entry in client.list_artifacts(run.info.run_id, PICTURES):
            found = series(PurePosixPath(entry.path).name)
            if found:
                _add(logged, "picture", found[1], found[0])
    return logged


def _add(logged: AlreadyLogged, kind: str, step: int, name: str) -> None:
    logged[kind, step] = logged.get((kind, step), frozenset()) | {name}
