"""Whole runs for tests: a tiny configuration, the command line in this process, and a pool that
needs no Ray."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from in_process import InProcess

from hmdc_ray import condense
from hmdc_ray.actors import session
from hmdc_ray.actors.local import LocalPool
from hmdc_ray.actors.students import StudentResources
from hmdc_ray.cli.main import main
from hmdc_ray.condensed import load_condensed
from hmdc_ray.config import MemberConfig, RunConfig
from hmdc_ray.config.io import dump_config, parse_config
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.evaluation.conduct import conduct
from hmdc_ray.evaluation.earlier import Earlier
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.sets import Sets
from hmdc_ray.exchange.resources import Resources, given
from hmdc_ray.run import evaluate, execution

TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 5,
    "pool": {"members": [{"architecture": "convnet", "options": {"width": 8, "depth": 2}}, {"architecture": "lenet"}]},
    "matching": {
        "metric": "cosine",
        "mutual_distillation": True,
        "aligner_images": 32,
        "real_batch": 8,
        "augmentation": "dsa",
        "families": ["crop", "brightness"],
    },
    "balance": {"mode": "ema", "period": 2},
    "schedule": {
        "iterations": 2,
        "steps": 3,
        "training": "real",
        "real_images": 32,
        "batch": 16,
        "checkpoint_every": 2,
        "picture_every": 3,
    },
    "evaluation": {"students": [], "seeds": 1, "epochs": 2, "baselines": "random", "num_gpus": 0},
    "tracking": {"enabled": False},
    "cluster": {"threads": 1},
}
"""Two members, mutual distillation and GBM, two iterations of three steps; judged by no student and
not tracked."""

STEPS = 6


def tiny(cache: Path, **sections: Any) -> RunConfig:
    """The tiny run, with its data decoded in ``cache`` and some fields replaced."""
    data = {**TINY, "data": {"cache": str(cache)}}
    for name, value in sections.items():
        data[name] = {**data.get(name, {}), **value} if isinstance(value, dict) else value
    return parse_config(data, "test")


def tiniest(folder: Path, **sections: Any) -> RunConfig:
    """The tiny run on three classes of noise, 16x16 grey, on CPUs, which is several times as fast;
    the data lies in ``folder``."""
    source = folder / "noise.parquet"
    if not source.exists():
        write_images(source, [0, 1, 2] * 12, side=16)
    on_cpus = {"members": [{**member, "num_gpus": 0} for member in TINY["pool"]["members"]]}
    sections = {"pool": on_cpus, **sections, "data": {"source": str(source), **sections.get("data", {})}}
    return tiny(folder / "cache", **sections)


def write_config(path: Path, config: RunConfig) -> Path:
    path.write_text(dump_config(config))
    return path


def write_images(path: Path, labels: Sequence[int | None], *, side: int = 8, channels: int = 1, **columns: Any) -> Path:
    """A Parquet file of random images, one for each label, as raw arrays; ``columns`` replace its
    own."""
    shape = (len(labels), side, side) if channels == 1 else (len(labels), side, side, channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images.tolist(), "label": list(labels), **columns}), path)
    return path


def pixels(folder: Path) -> bytes:
    """The condensed images of a run, to the last bit."""
    return load_condensed(folder).images.numpy().tobytes()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content; locks, which hold process numbers, left out."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@dataclass(frozen=True)
class Outcome:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str


class CommandLine:
    """Runs ``hmdc`` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: object) -> Outcome:
        self._monkeypatch.setattr(sys, "argv", ["hmdc", *map(str, words)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Outcome(code or 0, *self._capsys.readouterr())

    def succeeds(self, *words: object) -> str:
        """The standard output of a command that must succeed."""
        outcome = self(*words)
        assert outcome.code == 0, outcome
        return outcome.out


@contextmanager
def _local_pool(resources: Resources, info: DatasetInfo, folder: Path, check: Callable[[], None]) -> Iterator[LocalPool]:
    check()
    yield LocalPool(resources.config, info, folder)


def _evaluate(
    condensed: Sets,
    config: RunConfig,
    *,
    pool: Collection[MemberConfig] | None,
    progress: Callable[[int, int], None],
    check: Callable[[], None],
    earlier: Earlier | None = None,
) -> Evaluation:
    return conduct(condensed, config, pool=pool, executor=InProcess(check), progress=progress, earlier=earlier)


@contextmanager
def _no_session(address: str | None, stage: Callable[[str], None], check: Callable[[], None]) -> Iterator[None]:
    stage("starting Ray")
    yield


def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs and evaluations take place in this process."""
    for module in (execution, evaluate, session):  # the command line starts Ray while torch is imported
        monkeypatch.setattr(module, "ray_session", _no_session)
    monkeypatch.setattr(execution, "launch", _local_pool)
    monkeypatch.setattr(execution, "find_resources", given)
    monkeypatch.setattr(evaluate, "evaluate_on_ray", _evaluate)
    monkeypatch.setattr(evaluate, "find_student_resources", lambda sets, config: StudentResources(config, "in this process"))


def condense_here(config: RunConfig, folder: Path) -> None:
    """A run in this process."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_ray(monkeypatch)
        condense(config, folder)
